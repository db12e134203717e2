"""The embedded world: a small language with exact grammar in which every quantity of the method is measured exactly.

A laboratory beside the method: delete this folder, and the method still stands.
"""
