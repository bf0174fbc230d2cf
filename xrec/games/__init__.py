"""Games: what is explained. Players, what their absence means, which number of the model it is, and the callable."""
