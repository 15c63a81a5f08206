"""Plots of published results as SVG, without any library, so that the same JSON gives the same file to the byte."""
