"""Preflight checks: is anything silently wrong before the first step?"""
