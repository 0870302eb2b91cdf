"""Triton kernels of the language losses: one program walks one row, in float32, and writes nothing but its gradient.

Only `triton_rows` calls them; where Triton is not installed, this module can be imported and nothing in it called.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
from __future__ import annotations

from typing import Any

try:
    import triton
    from triton import language as tl

    jit: Any = triton.jit
except ImportError:
    tl = None

    def jit(function: Any) -> Any:
        """Leaves the kernel uncalled."""
        return function


@jit
def logits_of(scores, scale, softcap, CAPPED: tl.constexpr):
    """softcap * tanh(scale * scores / softcap)."""
    logits = scores.to(tl.float32) * scale
    if CAPPED:
        small = tl.exp(-2.0 * tl.abs(logits / softcap))
        logits = tl.where(logits < 0.0, -softcap, softcap) * ((1.0 - small) / (1.0 + small))
    return logits


@jit
def grown(largest, total, logits, here):
    """Maximum and sum of exponentials of a row, by lane, after some more of its logits."""
    logits = tl.where(here, logits, -1.0e38)
    larger = tl.maximum(largest, logits)
    total = total * tl.exp(largest - larger) + tl.where(here, tl.exp(logits - larger), 0.0)
    return larger, total


@jit
def log_sum(largest, total):
    """Log of the sum of a row's exponentials from those of its lanes."""
    most = tl.max(largest, axis=0)
    return most + tl.log(tl.sum(total * tl.exp(largest - most), axis=0))


@jit
def from_larger_to_mixture(gap, smaller, larger):
    """log(larger + smaller * exp(-gap)), by series where both parts nearly agree: see `log_ratios`."""
    series = -gap * (1.0 - gap * (0.5 - gap * (1.0 / 6.0 - gap / 24.0)))
    step = smaller * tl.where(gap < 0.05, series, tl.exp(-gap) - 1.0)
    near = step * (1.0 - step * (0.5 - step * (1.0 / 3.0 - step * (0.25 - step * (0.2 - step / 6.0)))))
    return tl.where(step > -0.05, near, tl.log(larger + smaller * tl.exp(-gap)))


@jit
def term_and_slope(log_student, log_teacher, share, KIND: tl.constexpr):
    """What a class adds to the divergence, and its slope: see `slopes`."""
    student, teacher = tl.exp(log_student), tl.exp(log_teacher)
    difference = log_student - log_teacher
    if KIND == "forward_kl":
        term = student - teacher - teacher * difference
        slope = -teacher
    elif KIND == "reverse_kl":
        term = student * difference
        slope = term
    elif KIND == "tvd":
        term = 0.5 * tl.abs(student - teacher)
        slope = 0.5 * student * tl.where(student > teacher, 1.0, tl.where(student < teacher, -1.0, 0.0))
    else:
        of_teacher = share
        if KIND == "skew_reverse_kl":
            of_teacher = 1.0 - share
        smaller = tl.where(difference > 0.0, of_teacher, 1.0 - of_teacher)
        common = from_larger_to_mixture(tl.abs(difference), smaller, 1.0 - smaller)
        to_student = common + tl.maximum(-difference, 0.0)
        to_teacher = common + tl.maximum(difference, 0.0)
        if KIND == "generalized_jsd":
            slope = student * to_student * (share - 1.0)
            term = tl.maximum(slope - share * teacher * to_teacher, 0.0)
        elif KIND == "skew_forward_kl":
            slope = teacher * tl.exp(-to_student) * (share - 1.0)
            term = -teacher * to_teacher
        else:
            term = -student * to_student
            slope = term - share * student * tl.exp(-to_student)
    return term, slope


@jit
def dense_kernel(
    scores_at, teacher_at, labels_at, soft_at, hard_at, values_at, out_at,
    scores_stride, teacher_stride, out_stride, classes,
    student_scale, student_softcap, teacher_scale, teacher_softcap, temperature, share,
    KIND: tl.constexpr, STUDENT_CAPPED: tl.constexpr, TEACHER_CAPPED: tl.constexpr, LABELLED: tl.constexpr,
    GRADIENT: tl.constexpr, LOWEST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Two walks over a row for forward KL, three for the others, whose gradient needs the sum of all slopes."""
    row = tl.program_id(0).to(tl.int64)
    scores_at += row * scores_stride
    teacher_at += row * teacher_stride
    out_at += row * out_stride
    lanes = tl.arange(0, BLOCK)
    student_largest = tl.full([BLOCK], -1.0e38, tl.float32)
    teacher_largest = tl.full([BLOCK], -1.0e38, tl.float32)
    hard_largest = tl.full([BLOCK], -1.0e38, tl.float32)
    student_total = tl.zeros([BLOCK], tl.float32)
    teacher_total = tl.zeros([BLOCK], tl.float32)
    hard_total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, classes, BLOCK):
        place = start + lanes
        here = place < classes
        logits = logits_of(tl.load(scores_at + place, here, 0.0), student_scale, student_softcap, STUDENT_CAPPED)
        theirs = logits_of(tl.load(teacher_at + place, here, 0.0), teacher_scale, teacher_softcap, TEACHER_CAPPED)
        ours = tl.maximum(logits / temperature, LOWEST)
        theirs = tl.maximum(theirs / temperature, LOWEST)
        student_largest, student_total = grown(student_largest, student_total, ours, here)
        teacher_largest, teacher_total = grown(teacher_largest, teacher_total, theirs, here)
        if LABELLED:
            hard_largest, hard_total = grown(hard_largest, hard_total, tl.maximum(logits, LOWEST), here)
    student_sum = log_sum(student_largest, student_total)
    teacher_sum = log_sum(teacher_largest, teacher_total)

    soft = tl.load(soft_at + row)
    terms = tl.zeros([BLOCK], tl.float32)
    slopes = tl.zeros([BLOCK], tl.float32)
    if KIND != "forward_kl":
        for start in range(0, classes, BLOCK):
            place = start + lanes
            here = place < classes
            logits = logits_of(tl.load(scores_at + place, here, 0.0), student_scale, student_softcap, STUDENT_CAPPED)
            theirs = logits_of(tl.load(teacher_at + place, here, 0.0), teacher_scale, teacher_softcap, TEACHER_CAPPED)
            log_student = tl.maximum(logits / temperature, LOWEST) - student_sum
            log_teacher = tl.maximum(theirs / temperature, LOWEST) - teacher_sum
            term, slope = term_and_slope(log_student, log_teacher, share, KIND)
            terms += tl.where(here, term, 0.0)
            slopes += tl.where(here, slope, 0.0)
    slope_sum = -1.0
    if KIND != "forward_kl":
        slope_sum = tl.sum(slopes, axis=0)

    hard = 0.0
    hard_sum = 0.0
    label = -1
    chosen = 0.0
    if LABELLED:
        hard = tl.load(hard_at + row)
        hard_sum = log_sum(hard_largest, hard_total)
        label = tl.load(labels_at + row)
        # now, since the gradient may take the place of the scores
        chosen = logits_of(tl.load(scores_at + label), student_scale, student_softcap, STUDENT_CAPPED)
    if GRADIENT or KIND == "forward_kl":
        for start in range(0, classes, BLOCK):
            place = start + lanes
            here = place < classes
            scores = tl.load(scores_at + place, here, 0.0).to(tl.float32)
            logits = logits_of(scores, student_scale, student_softcap, STUDENT_CAPPED)
            theirs = logits_of(tl.load(teacher_at + place, here, 0.0), teacher_scale, teacher_softcap, TEACHER_CAPPED)
            log_student = tl.maximum(logits / temperature, LOWEST) - student_sum
            log_teacher = tl.maximum(theirs / temperature, LOWEST) - teacher_sum
            term, slope = term_and_slope(log_student, log_teacher, share, KIND)
            if KIND == "forward_kl":
                terms += tl.where(here, term, 0.0)
            if GRADIENT:
                gradient = (slope - tl.exp(log_student) * slope_sum) * (soft / temperature)
                if LABELLED:
                    gradient += hard * tl.exp(tl.maximum(logits, LOWEST) - hard_sum)
                    gradient -= tl.where(place == label, hard, 0.0)
                if STUDENT_CAPPED:
                    gradient *= 1.0 - (logits / student_softcap) * (logits / student_softcap)
                gradient = tl.where(scores > LOWEST, gradient * student_scale, 0.0)
                tl.store(out_at + place, gradient.to(out_at.dtype.element_ty), here)
    value = soft * tl.sum(terms, axis=0)
    if LABELLED:
        value += hard * (hard_sum - tl.maximum(chosen, LOWEST))
    tl.store(values_at + row, value)


@jit
def others_sums_kernel(
    scores_at, sums_at, hard_sums_at, stride, classes, scale, softcap, temperature,
    CAPPED: tl.constexpr, LABELLED: tl.constexpr, LOWEST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp of each row's softened logits, and of its logits, over the scores above LOWEST."""
    row = tl.program_id(0).to(tl.int64)
    scores_at += row * stride
    lanes = tl.arange(0, BLOCK)
    largest = tl.full([BLOCK], -1.0e38, tl.float32)
    hard_largest = tl.full([BLOCK], -1.0e38, tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    hard_total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, classes, BLOCK):
        place = start + lanes
        here = place < classes
        scores = tl.load(scores_at + place, here, 0.0).to(tl.float32)
        logits = logits_of(tl.maximum(scores, LOWEST), scale, softcap, CAPPED)
        logits = tl.where(scores > LOWEST, logits, LOWEST)
        largest, total = grown(largest, total, tl.maximum(logits / temperature, LOWEST), here)
        if LABELLED:
            hard_largest, hard_total = grown(hard_largest, hard_total, logits, here)
    tl.store(sums_at + row, log_sum(largest, total))
    if LABELLED:
        tl.store(hard_sums_at + row, log_sum(hard_largest, hard_total))


@jit
def others_gradient_kernel(
    scores_at, sums_at, shares_at, hard_sums_at, hard_at, out_at, stride, out_stride, classes,
    scale, softcap, temperature,
    CAPPED: tl.constexpr, LABELLED: tl.constexpr, LOWEST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """share * softmax of the softened logits + hard * softmax of the logits, through scale and softcap; else 0."""
    row = tl.program_id(0).to(tl.int64)
    scores_at += row * stride
    out_at += row * out_stride
    lanes = tl.arange(0, BLOCK)
    log_sum_here = tl.load(sums_at + row)
    share = tl.load(shares_at + row)
    hard = 0.0
    hard_sum = 0.0
    if LABELLED:
        hard = tl.load(hard_at + row)
        hard_sum = tl.load(hard_sums_at + row)
    for start in range(0, classes, BLOCK):
        place = start + lanes
        here = place < classes
        scores = tl.load(scores_at + place, here, 0.0).to(tl.float32)
        logits = logits_of(tl.maximum(scores, LOWEST), scale, softcap, CAPPED)
        gradient = share * tl.exp(tl.maximum(logits / temperature, LOWEST) - log_sum_here)
        if LABELLED:
            gradient += hard * tl.exp(logits - hard_sum)
        if CAPPED:
            gradient *= 1.0 - (logits / softcap) * (logits / softcap)
        gradient = tl.where(scores > LOWEST, gradient * scale, 0.0)
        tl.store(out_at + place, gradient.to(out_at.dtype.element_ty), here)
