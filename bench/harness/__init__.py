"""The measuring tools behind bench/compare.py: processes, servers, load generators, statistics and reports."""
