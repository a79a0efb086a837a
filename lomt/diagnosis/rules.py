"""The rules of thumb: every threshold that a verdict rests on, with its reason."""

WORSE = 1.0
"""Percent that a task must lose to be judged: less is within what another seed changes in runs of this size."""

CONFLICT = -0.1
"""Mean cosine below which gradients conflict: two random directions of n numbers have a cosine of 0 ± 1/√n, and 0.1 is
three times that for the smallest layer that matters (some 1000 weights). Its mean must also lie two standard errors
below 0."""

DROWNED = 1 / 2
"""Part of a fair share of the gradients' norm below which a task is drowned: an AdamW step has the same length whatever
the gradient's, so a task's share of the norm is its share of the step; with half of it, it learns as if at half of the
learning rate. On NYU-v2 normals lose with 0.32 and 0.35 of a fair share, and balancing cures both."""

BETTER_TAP = 0.02
"""How much lower, relatively, the loss of a probe elsewhere must be: less than a task is worth moving for. The
difference must also exceed two standard deviations of itself over the probes' seeds."""

SLOPE = 0.25
"""The same for a deeper tap: probes, which look at one place at a time, improve towards the end even where a decoder,
which looks around, does not need it. On NYU-v2 normals gain at layer2.0.conv2, although a probe at the end has
16 % less loss."""

UNDERFIT = 2.0
"""Percent by which the training loss must exceed the single-task network's to speak of under-fitting: seeds differ by
about 1 %."""

RESIDUAL = 0.5
"""The most that a cause found by exclusion may weigh against one that was measured."""
