"""Intervals and paired tests over users; imports nothing else of xrec but types."""
