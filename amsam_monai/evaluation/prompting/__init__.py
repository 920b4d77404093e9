"""What prompts are worth: confusion matrices, true and simulated prompts, curves of corrections."""
