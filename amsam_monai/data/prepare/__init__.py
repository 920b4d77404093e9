"""Checking and listing a data set before it trains."""
