"""What a file of a model imports in place of torch: a config is read without torch, and a class of a model needs it.

`model_class` joins a class that derives from one of these with the class of the same name that has torch. A subclass may use all of
that class; it imports torch, where it needs it, within its methods.
"""

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rrm.reasoner import Reasoner as Reasoner
    from rrm.trial_model import TrialModel as TrialModel
else:

    class TrialModel:
        """Stands for `rrm.trial_model.TrialModel`: any model."""

        def __class_getitem__(cls, carry: Any) -> type[Self]:
            return cls

    class Reasoner(TrialModel):
        """Stands for `rrm.reasoner.Reasoner`: a model that refines a state by calls of networks."""
