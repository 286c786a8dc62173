"""The published tables in one run: methods x data sets x metrics, cost, statistics, one report."""
