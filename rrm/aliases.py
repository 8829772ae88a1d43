"""Other names of fields and columns: letters and names of the papers, and those that other programs use. The one table of them.

A name may mean one thing to a person who writes a spec and another in a table of results. `loops` in a spec can only be the setting
`model.l_cycles` (n), since R is no field; a column `loops` of a foreign table counts all recursions, the column `recursion` (R).
So each row has names that hold in either place, names for specs alone, and names for tables alone.
"""

import re
from typing import NamedTuple


class Alias(NamedTuple):
    """Names of one field or column, in lower-case letters and digits, separated by spaces. A name may stand at several fields."""

    meaning: str
    names: str = ""  # in a spec and in a table
    in_specs: str = ""  # also: ambiguous, or of another unit, as the name of a column
    in_tables: str = ""


ALIASES = {
    "model.hidden_size": Alias(
        "width", "width dmodel dim hidden hiddendim modeldim embeddim nembd", in_specs="d embeddingdim"
    ),
    "model.num_layers": Alias("layers of a network", "layers nlayers nlayer", in_specs="layer l numlayer llayers blocks depth"),
    "model.h_cycles": Alias("T, cycles a supervision step", "t numcycles", in_specs="h cycles ncycles", in_tables="outercycles"),
    "model.l_cycles": Alias(
        "n, latent updates a cycle", "n",
        in_specs="l cycles ncycles numcycles loops nloops numloops latentsteps recursion recursions recursionsteps iterations",
        in_tables="latentupdates innercycles",
    ),
    "model.supervision_steps": Alias(
        "N_sup, supervision steps an example lives in training", "nsup haltmaxsteps",
        in_specs="nsupervision supervision supervisiondepth segments steps depth", in_tables="maxsupervisionsteps",
    ),
    "eval.max_depth": Alias("D, supervision steps at inference", in_specs="d depth inferencedepth testdepth"),
    "model.head_size": Alias(
        "width of a head: there are hidden_size / head_size heads", in_specs="heads head nheads nhead numheads headdim"
    ),
    "model.positions": Alias(
        "what gives a token its position", in_specs="pos position posencodings posencoding positionalencoding rope"
    ),
    "model.halt_exploration": Alias("probability that halting must wait", in_specs="exploration haltexplorationprob"),
    "optim.kind": Alias("which optimizer", in_specs="optimizer optimiser"),
    "optim.lr": Alias("learning rate", "learningrate", in_specs="rate", in_tables="lr"),
    "optim.weight_decay": Alias("weight decay", in_specs="wd decay l2"),
    "optim.ema_decay": Alias("moving average of the weights", in_specs="ema"),
    "fit.batch_size": Alias("rows of a batch", in_specs="batch bs minibatch"),
    "fit.budget.amount": Alias(
        "length of training in fit.budget.unit, which is steps, fresh_examples or train_flops",
        in_specs="steps numsteps maxsteps trainsteps trainingsteps iterations epoch epochs numepochs maxepochs",
    ),
    "fit.gradient_clip": Alias("largest gradient norm", in_specs="clip gradclip gradientclipping maxgradnorm"),
    "task.kind": Alias("which task", in_tables="task dataset"),
    "seed": Alias("seed of a trial", in_tables="randomseed rngseed rng randomstate seedid replicate"),
    "recursion": Alias(
        "R, applications of a recursed parameter to an example",
        in_tables="recursions recurrence numrecursions loops nloops numloops iterations numiterations",
    ),
    "params": Alias("parameters", in_tables="nparams numparams parameters numparameters totalparams"),
    "params_recursed": Alias(
        "parameters inside the recursion", in_tables="coreparams recurrentparams numparamsrecursed nparamsrecursed"
    ),
    "train_flops": Alias(
        "FLOPs of training",
        in_tables="trainingflops totalflops flops compute traincompute trainingcompute totalcompute",
    ),
}  # fmt: skip
MEANINGS = {path: alias.meaning for path, alias in ALIASES.items() if alias.names or alias.in_specs}
COLUMNS = {  # by the name in a foreign table
    name: path for path, alias in ALIASES.items() for name in f"{alias.names} {alias.in_tables}".split()
}
# The column of a score is `split/score`; these are names of the two parts in foreign tables.
SCORE_ALIASES = {
    "exact_accuracy": ("accuracy", "acc", "exactacc", "exactmatch", "em"),
    "token_accuracy": ("tokenacc",),
    "nll": ("loss", "crossentropy", "xent"),
}
SPLIT_ALIASES = {"test": "test", "eval": "test", "val": "val", "valid": "val", "validation": "val", "ood": "ood"}


def squash(name: str) -> str:
    """The lower-case letters and digits of a name, by which names are compared."""
    return re.sub(r"[^0-9a-z]", "", name.lower())


def fields_called(name: str) -> list[str]:
    """The fields of a trial that some people call by this name."""
    return [path for path, alias in ALIASES.items() if squash(name) in f"{alias.names} {alias.in_specs}".split()]
