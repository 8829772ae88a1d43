"""Other names of a trial's fields: letters and names of the papers, and those that people bring from elsewhere."""

# By field: what it means, and the names under which it is looked for, in lower case. A name may stand at several fields.
ALIASES: dict[str, tuple[str, str]] = {
    "model.hidden_size": ("width", "width d d_model dim hidden hidden_dim model_dim embed_dim embedding_dim n_embd"),
    "model.num_layers": ("layers of a network", "layers layer l n_layers n_layer num_layer l_layers blocks depth"),
    "model.h_cycles": ("T, cycles a supervision step", "t h cycles n_cycles num_cycles"),
    "model.l_cycles": (
        "n, latent updates a cycle",
        "n l cycles n_cycles num_cycles loops n_loops num_loops latent_steps recursion recursions recursion_steps iterations",
    ),
    "model.supervision_steps": (
        "N_sup, supervision steps an example lives in training",
        "n_sup nsup n_supervision supervision supervision_depth halt_max_steps segments steps depth",
    ),
    "eval.max_depth": ("D, supervision steps at inference", "d depth inference_depth test_depth"),
    "model.head_size": ("width of a head: there are hidden_size / head_size heads", "heads head n_heads n_head num_heads head_dim"),
    "model.positions": ("what gives a token its position", "pos position pos_encodings pos_encoding positional_encoding rope"),
    "model.halt_exploration": ("probability that halting must wait", "exploration halt_exploration_prob"),
    "optim.kind": ("which optimizer", "optimizer optimiser"),
    "optim.lr": ("learning rate", "learning_rate rate"),
    "optim.weight_decay": ("weight decay", "wd decay l2"),
    "optim.ema_decay": ("moving average of the weights", "ema"),
    "fit.batch_size": ("rows of a batch", "batch bs batchsize minibatch"),
    "fit.budget.amount": (
        "length of training in fit.budget.unit, which is steps, fresh_examples or train_flops",
        "steps num_steps max_steps train_steps training_steps iterations epoch epochs num_epochs max_epochs",
    ),
    "fit.gradient_clip": ("largest gradient norm", "clip grad_clip gradient_clipping max_grad_norm"),
}
MEANINGS = {path: meaning for path, (meaning, _) in ALIASES.items()}


def fields_called(name: str) -> list[str]:
    """The fields that some people call by this name."""
    return [path for path, (_, names) in ALIASES.items() if name.lower().replace("-", "_") in names.split()]
