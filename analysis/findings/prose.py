"""The words of the page; numbers, tables and verdicts are put between them."""

INTRODUCTION = """# Findings

What the stored counts say beyond the paper. `sweetgrad findings` writes this page from stores; nothing in it is typed, and the
verdicts are chosen by the numbers.

```console
$ sweetgrad findings {names} --out findings.md
```

**How it was judged.** {replicates} times the architectures of a profile fall at random into two halves. {draws} random
subsets of {num_archs} architectures from the first half choose an interval each, by sweetness and without any accuracy;
Spearman's correlation of the score in it with accuracy is then measured on a bootstrap resample of the second half. Brackets
hold the middle 95 % of the {replicates} means, and their mean stands before them. All rules see the same halves and subsets, so
a difference between rules is one of pairs; it is **bold** where zero lies outside its brackets.

**What this cannot tell.** The brackets hold the chance of architectures, not that of the batch: where a data set has one profile,
it is that of one batch. Data sets of one search space share their architectures, and their accuracies resemble each other, so
they are less than independent witnesses; another search space is a better one. Rules are many and differences small: a rule
counts as better only if it is worse nowhere, and better in more than half of the data that did not suggest it."""

STABILITY = """## How stable the chosen interval is

The paper's rule: what the first {num_archs} architectures choose, what random subsets of {num_archs} choose most often, how what
they choose ranks on the other half, and what the interval of split 2 that ranks best would reach, which nobody can know without
accuracies."""

AGREEMENT = """How often two subsets of {num_archs} architectures choose the very same interval: two of one profile, and two of
profiles that differ in one thing. Sliding windows overlap, so that their choices differ often and by little."""

RULES = """## Other sets of intervals to choose from

The paper's rule chooses the sweetest of the intervals of split 2. Here the same rule chooses from others: other splits, all
intervals of splits 1 to 10 at once, and sliding windows [t, ratio · t) from every stored edge, as `sliding_windows` makes them.
First the correlation of the paper's rule, then what each other gains over it. {suggesting} suggests, the other columns judge."""

AVERAGING = """## Averaging before the choice

Each profile is judged in turn. Its interval is chosen by itself; by one other profile; or by the mean sweetness of all others,
with as many networks measured in all as the paper measures, or with as many architectures of each. *Gain* is over the paper's
rule: split 2, {num_archs} architectures of the profile itself."""

LIVE = """## How much of the gain is live parameters alone

A weight on an edge that no path from input to output uses has gradient exactly zero. Counting the others, the *live* weights,
needs no interval. Sweet Gradient is counted in the interval that the first {num_archs} architectures choose, and correlated on
all others. *Share* is the part of its gain over Parameters that live parameters have by themselves, empty where there
is none. *Within* is Spearman's correlation among architectures with equally many live weights (groups of at least 10,
weighted by their size), where live parameters say nothing; it is lower than the others by nature, for within a group
architectures differ less. The last two correlations are of architectures without any dead weight. Every number is that of all
these architectures; brackets hold 95 % of the resamples of a bootstrap over them."""
