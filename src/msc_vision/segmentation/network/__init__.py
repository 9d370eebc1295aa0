"""The network: its shape, inputs, weights and maps of a whole field. Only this and `learning` use torch."""
