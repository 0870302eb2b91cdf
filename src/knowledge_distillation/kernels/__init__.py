"""Fused and chunked ways to compute the language losses: the results of the plain ones, in less time and memory.

Plain tensors in, values and gradients out. Users meet them through `losses.fused_divergence`.
"""
