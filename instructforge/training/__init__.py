"""Fine-tuning: one job in, one model folder with its contract out."""
