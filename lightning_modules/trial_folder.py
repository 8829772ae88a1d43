"""Names of the files in a trial's folder, on a worker and in a store."""

TRIAL = "trial.yaml"  # the resolved config
ATTEMPTS = "attempts.jsonl"  # a line each time that a worker began the trial
CHECKPOINT = "checkpoint.ckpt"  # the last state of training
BEST = "best.pt"  # averaged weights, best on validation so far
WEIGHTS = "weights.pt"  # averaged weights that were scored
ITEMS = "items.parquet"  # the answer to each test item
THINKING = "thinking.npz"  # answers to a few test items after each supervision step
ERROR = "error.txt"  # traceback of a trial that raised
KILLED = "killed.json"  # the reason for which a watchdog ended the process
RESULT = "result.json"  # the record and its curves, written last
