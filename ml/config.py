"""Every knob of a training, and what it may be set to."""

from __future__ import annotations

from dataclasses import dataclass

ARCHITECTURES = ("fast", "accurate", "cascade")
PASSES = {"fast": 5, "accurate": 3}  # over the training texts
TAGS_PASSES = 6  # the same where there is no verdict
# Texts of the corpus whose mean probability is set to its share of DA: at .3 % their own DA texts are 180 give or take 7 %.
PRIOR_SAMPLE = 60_000
MOST_HIDDEN = 0.02


@dataclass(frozen=True)
class Config:
    """Every knob. The defaults are those that docs/model.md reports on."""

    architecture: str = "fast"  # fast | accurate | cascade: both, accurate on what fast puts near the top
    # verdict: a verdict and tags. tags: tags alone, nothing is said of DA. classes: the same, where each text has exactly
    # one of them.
    task: str = "verdict"
    seed: int = 1
    epochs: int = 0  # passes over the training texts, 1 to 20; 0: as the architecture needs
    batch: int = 512  # texts
    rate: float = 0.1  # peak learning rate of AdamW for the weights of words and pairs, 0.03 to 0.3
    deep_rate: float = 2e-3  # the same for the convolution, 5e-4 to 5e-3
    decay: float = 1e-2  # weight decay of the same, in place of an L2 penalty, 1e-3 to 1e-1
    word_count: int = 2  # times that a word must occur in training to have a vector of its own
    pair_count: int = 0  # the same for a pair of words; 0: no pairs
    word_dims: int = 100  # accurate: dimensions of the pre-trained word vectors
    filters: int = 128  # accurate: filters of the convolution, per width
    length: int = 40  # accurate: words that the convolution reads
    pretraining_count: int = 5  # accurate: times that a word must occur in the unlabelled texts
    averaging: bool = True  # the mean of the weights over the later epochs, in place of the last ones
    tag_loss: float = 0.1  # weight of one tag's loss beside the verdict's
    # Drawn negatives, whose tags nobody judged, train every tag as absent with this weight: enough to keep tags away
    # from general tweets, too little to drown the judged ones. 0 to 1.
    negative_tags_weight: float = 0.05
    # Share of DA that is taken to be among the drawn negatives, which nobody judged; 0: none.
    hidden_positives: float = 0.003  # at most MOST_HIDDEN
    term_pattern: str = ""  # RE2: the rule terms
    term_deletion: float = 0.3  # share of the texts from which they are deleted, anew in every epoch
    corpus_prior: float | None = None  # share of DA in the corpus; None: estimated
    goal: str = "f1"  # of the tags' thresholds: f1 | overall | precision, see ml.calibration.Goal
    precision: float = 0.8  # wanted, where that is the goal
    cascade_share: float = 0.04  # cascade: share of the corpus that accurate reads again, 0.01 to 0.1

    def networks(self) -> tuple[str, ...]:
        return ("fast", "accurate") if self.architecture == "cascade" else (self.architecture,)

    def passes(self) -> int:
        default = PASSES if self.task == "verdict" else dict.fromkeys(PASSES, TAGS_PASSES)
        return sum(self.epochs or default[name] for name in self.networks())
