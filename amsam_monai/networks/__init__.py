"""Networks: SAM's parts, what adapts them, and the systems built of both."""
