"""From results to documents: tables in Markdown, pages, and plots as SVG.

Plots need no library, so that the same JSON gives the same file to the byte.
"""
