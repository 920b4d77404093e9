"""From a few labelled cases to a bundle: a plan, a method chosen by measurement, a report."""
