"""Writes the Python code of a template so that every operation goes through the guard.

Jinja's own code generator calls operators, comparisons, slices and ``str`` directly, and works constants out
while it compiles. This one leaves nothing to be worked out at load time. Outputs are handed on as they are, not
as plain texts, so that what they came from is still known where they land.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.idtracking import VAR_LOAD_RESOLVE
from jinja2.runtime import Undefined

__all__ = ["GuardedCodeGenerator", "code_names", "instrument"]

_CONSTANT = (nodes.Const, nodes.TemplateData)


def code_names(environment: Any) -> dict[str, Any]:
    """Return the names that the code of every template finds in its globals."""
    return {
        "environment": environment,
        "guard": environment.guard,
        "undefined": environment.undefined,
        "concat": environment.concat,
        "cond_expr_undefined": Undefined,
    }


def instrument(tree: nodes.Template) -> None:
    """Put a count of work at the head of every body that may run often, and a check on what loops run over."""
    repeats = any(name.name in ("self", "super") for name in tree.find_all(nodes.Name))
    for node in list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block))):
        if isinstance(node, nodes.Block) and not repeats:
            continue  # it is rendered once
        if isinstance(node, nodes.For):
            node.iter = _guarded("iterate", node.iter)
        body: list[nodes.Node] = node.body  # type: ignore[attr-defined]
        weight = 2 + sum(1 for part in body for _ in part.find_all(nodes.Node))
        body.insert(0, nodes.ExprStmt(nodes.EnvironmentAttribute(f"guard.spend({weight})")).set_lineno(node.lineno))
    for call in list(tree.find_all((nodes.Call, nodes.Filter, nodes.Test))):
        if getattr(call, "dyn_args", None) is not None:
            call.dyn_args = _guarded("spread", call.dyn_args)  # type: ignore[attr-defined]
        if getattr(call, "dyn_kwargs", None) is not None:
            call.dyn_kwargs = _guarded("spread_names", call.dyn_kwargs)  # type: ignore[attr-defined]


def _guarded(operation: str, argument: nodes.Node) -> nodes.Call:
    callee = nodes.EnvironmentAttribute(f"guard.{operation}")
    call = nodes.Call(callee, [argument], [], None, None)
    call.set_lineno(argument.lineno)
    return call


def _write_operation(writer: CodeGenerator, name: str, parts: Iterable[nodes.Node | None], frame: Frame) -> None:
    writer.write(f"guard.{name}(")
    for place, part in enumerate(parts):
        writer.write(", " if place else "")
        if part is None:
            writer.write("None")
        else:
            writer.visit(part, frame)
    writer.write(")")


def _binary(name: str) -> Callable[[CodeGenerator, nodes.BinExpr, Frame], None]:
    def visit(self: CodeGenerator, node: nodes.BinExpr, frame: Frame) -> None:
        _write_operation(self, name, (node.left, node.right), frame)

    return visit


def _unary(name: str) -> Callable[[CodeGenerator, nodes.UnaryExpr, Frame], None]:
    def visit(self: CodeGenerator, node: nodes.UnaryExpr, frame: Frame) -> None:
        _write_operation(self, name, (node.node,), frame)

    return visit


class GuardedCodeGenerator(CodeGenerator):
    """Jinja's code generator with every operation handed to the guard.

    Attributes:
        mute_blocks: Whether the root leaves its blocks alone, because they are rendered one by one.
    """

    mute_blocks = False

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.optimizer = None
        self.mute_blocks = bool(getattr(self.environment, "mute_blocks", False))

    # --- What a name is looked up in -----------------------------------------------------------------

    def write_commons(self) -> None:
        """Write the head of a function; what Jinja writes here besides is global, from ``code_names``."""
        self.writeline("resolve = context.resolve_or_missing")
        self.writeline("if 0: yield None")

    def enter_frame(self, frame: Frame) -> None:
        for action, name in frame.symbols.loads.values():
            if action == VAR_LOAD_RESOLVE:
                self.environment.resolved.add((frame.block or "", str(name)))  # type: ignore[attr-defined]
        super().enter_frame(frame)

    # --- Outputs -------------------------------------------------------------------------------------

    def visit_Output(self, node: nodes.Output, frame: Frame) -> None:
        if frame.require_output_check:
            if self.has_known_extends:
                return
            self.writeline("if parent_template is None:")
            self.indent()
        for child in node.nodes:
            if isinstance(child, nodes.TemplateData):
                self.simple_write(repr(child.data), frame, child)
                continue
            self.start_write(frame, child)
            # A buffer is joined later, when a list that was printed may have been changed.
            self.write("" if frame.buffer is None else "guard.text(")
            self.visit(child, frame)
            self.write("" if frame.buffer is None else ")")
            self.end_write(frame)
        if frame.require_output_check:
            self.outdent()

    def visit_Extends(self, node: nodes.Extends, frame: Frame) -> None:
        if not self.mute_blocks:
            super().visit_Extends(node, frame)
            return
        if not frame.rootlevel or self.extends_so_far:
            self.fail("extends stands once, at the head of a template", node.lineno)
        self.writeline("parent_template = environment.get_template(", node)  # its blocks are known already
        self.visit(node.template, frame)
        self.write(f", {self.name!r})")
        self.has_known_extends = True
        self.extends_so_far += 1

    def visit_Block(self, node: nodes.Block, frame: Frame) -> None:
        if not (self.mute_blocks and frame.toplevel):
            super().visit_Block(node, frame)

    # --- Operators -----------------------------------------------------------------------------------

    visit_Add = _binary("add")
    visit_Sub = _binary("subtract")
    visit_Mul = _binary("multiply")
    visit_Div = _binary("divide")
    visit_FloorDiv = _binary("floor_divide")
    visit_Pow = _binary("power")
    visit_Mod = _binary("modulo")
    visit_Neg = _unary("negative")
    visit_Pos = _unary("positive")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("guard.concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        if len(node.ops) == 1:
            operand = node.ops[0]
            if _is_cheap(operand, node.expr):
                super().visit_Compare(node, frame)
                return
            self.write(f"guard.compare({operand.op!r}, ")
            self.visit(node.expr, frame)
            self.write(", ")
            self.visit(operand.expr, frame)
            self.write(")")
            return
        self.write("guard.chain(")
        self.visit(node.expr, frame)
        for operand in node.ops:
            self.write(f", {operand.op!r}, lambda: ")
            self.visit(operand.expr, frame)
        self.write(")")

    # --- Values --------------------------------------------------------------------------------------

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self.write("guard.made(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx != "load":
            super().visit_Tuple(node, frame)
            return
        self.write("guard.made(")
        super().visit_Tuple(node, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("guard.pairs((")
        for item in node.items:
            self.write("(")
            self.visit(item.key, frame)
            self.write(", ")
            self.visit(item.value, frame)
            self.write("), ")
        self.write("))")

    # --- Looking into values, and calls ----------------------------------------------------------------

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:
        self.write("guard.getattr(")
        self.visit(node.node, frame)
        self.write(f", {node.attr!r})")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if isinstance(node.arg, nodes.Slice):
            _write_operation(self, "slice", (node.node, node.arg.start, node.arg.stop, node.arg.step), frame)
        else:
            _write_operation(self, "getitem", (node.node, node.arg), frame)

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        extra = {"caller": "caller"} if forward_caller else None
        if isinstance(node.node, nodes.EnvironmentAttribute):
            self.write(f"environment.{node.node.name}(")
            if node.args:
                self.visit(node.args[0], frame)
            self.write("caller=caller" if forward_caller else "")
            self.write(")")
            return
        if isinstance(node.node, nodes.Getattr):
            self.write("guard.call_method(")
            self.visit(node.node.node, frame)
            self.write(f", {node.node.attr!r}")
        else:
            self.write("guard.call(")
            self.visit(node.node, frame)
        self.signature(node, frame, extra)
        self.write(")")


def _is_cheap(operand: nodes.Operand, left: nodes.Expr) -> bool:
    """Tell whether a comparison is with a constant, which cannot cost more than that constant's size."""
    if operand.op in ("eq", "ne"):
        return isinstance(operand.expr, _CONSTANT) or isinstance(left, _CONSTANT)
    return False
