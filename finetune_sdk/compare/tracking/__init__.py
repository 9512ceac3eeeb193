"""Results of a comparison in MLflow, TensorBoard, Trackio and Weights & Biases, written by their own libraries."""
