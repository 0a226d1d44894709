"""Codes of languages, in one spelling: two letters where there are any, script and region after them."""

from __future__ import annotations

import re

__all__ = ["canonical", "is_code", "main_part"]

_TWO_LETTERS = frozenset(
    re.findall(
        r"\w+",
        "aa ab af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv "
        "dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie "
        "ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv "
        "mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm "
        "rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts "
        "tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu",
    )
)
_THREE_LETTERS: dict[str, str] = dict(
    re.findall(
        r"(\w+)=([\w-]+)",
        "afr=af amh=am ara=ar arb=ar asm=as aze=az azj=az bel=be ben=bn bod=bo tib=bo bos=bs bul=bg cat=ca ces=cs "
        "cze=cs cym=cy wel=cy dan=da deu=de ger=de ell=el gre=el eng=en epo=eo est=et ekk=et eus=eu baq=eu fas=fa "
        "per=fa pes=fa fin=fi fra=fr fre=fr gle=ga glg=gl guj=gu hat=ht hau=ha heb=he hin=hi hrv=hr hun=hu hye=hy "
        "arm=hy ibo=ig ind=id isl=is ice=is ita=it jav=jv jpn=ja kan=kn kat=ka geo=ka kaz=kk khm=km kin=rw kir=ky "
        "kor=ko kur=ku kmr=ku lao=lo lat=la lav=lv lvs=lv lin=ln lit=lt ltz=lb lug=lg mal=ml mar=mr mkd=mk mac=mk "
        "mlg=mg plt=mg mlt=mt mon=mn khk=mn mri=mi mao=mi msa=ms may=ms zsm=ms mya=my bur=my nep=ne npi=ne nld=nl "
        "dut=nl nno=nn nob=nb nor=no nya=ny ori=or ory=or orm=om pan=pa pol=pl por=pt prs=fa-AF pus=ps pbt=ps "
        "ron=ro rum=ro rus=ru sin=si slk=sk slo=sk slv=sl sna=sn snd=sd som=so spa=es sqi=sq alb=sq srp=sr sun=su "
        "swa=sw swh=sw swe=sv tam=ta tel=te tgk=tg tgl=tl tha=th tir=ti tuk=tk tur=tr uig=ug ukr=uk urd=ur uzb=uz "
        "uzn=uz vie=vi wol=wo xho=xh yid=yi ydd=yi yor=yo zho=zh chi=zh cmn=zh zul=zu",
    )
)
_CODE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*\Z")


def canonical(code: str) -> str:
    """Return the one spelling of a language's code; what is no code is returned as it is, without outer spaces.

    >>> [canonical(code) for code in ("ENG", "zh_cn", "zh-hant", "pt-br", "tlh", "Old Norse")]
    ['en', 'zh-CN', 'zh-Hant', 'pt-BR', 'tlh', 'Old Norse']
    """
    code = code.strip()
    if not _CODE.match(code):
        return code
    first, *rest = re.split("[-_]", code)
    first = _THREE_LETTERS.get(first.lower(), first.lower())
    return "-".join([first, *(part.title() if len(part) == 4 else part.upper() for part in rest)])


def is_code(name: str) -> bool:
    """Tell whether a column's name is the code of a common language: ``en``, ``deu``, ``zh-Hant``, ``pt_BR``.

    >>> is_code("zh_CN"), is_code("eng"), is_code("text"), is_code("is_correct")
    (True, True, False, False)
    """
    if not _CODE.match(name):
        return False
    first, *rest = re.split("[-_]", name)
    shapes = all(len(part) in (2, 4) or part.isdigit() for part in rest)
    return shapes and (first.lower() in _TWO_LETTERS or first.lower() in _THREE_LETTERS)


def main_part(code: str) -> str:
    """Return the language alone, without script and region.

    >>> main_part("zh-Hant")
    'zh'
    """
    return code.partition("-")[0]
