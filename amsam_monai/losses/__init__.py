"""Losses: CE + Dice (BLO-SAM), BCE + Dice (AutoSAM) and the prompt heuristic loss (AI-SAM)."""
