"""What a file of a model imports in place of torch: a config is read without torch, and a class of a model needs it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rrm.reasoner import Reasoner as Reasoner
else:

    class Reasoner:
        """Stands for `rrm.reasoner.Reasoner`, to which `build_reasoner` joins the classes derived from this one.

        A subclass may use all of Reasoner; it imports torch, where it needs it, within its methods.
        """
