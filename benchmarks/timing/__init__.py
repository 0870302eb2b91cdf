"""How the benchmarks take time: a clock inside the data, and rounds in which every arm has its turn."""
