"""What all benchmarks share: contenders that take turns, figures and their goals, inputs, the machine."""
