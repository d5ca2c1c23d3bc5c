"""The world-facts data set, and the trainer that makes the sample checkpoints."""
