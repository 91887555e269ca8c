"""What goes over the bus: the socket, what arrives, what leaves, and the requests of clients."""
