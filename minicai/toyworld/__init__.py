"""A laboratory beside the method, in which all can be measured exactly: delete it, and the method still stands."""
