"""Arrays in, arrays out: the network, its back ends, the decode and the evaluation. No thread, no Qt, no video."""
