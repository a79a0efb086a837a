"""What runs on the device for the channel-masked convolution; :mod:`lomt_kernels.conv.triton` says how and launches it.

Each kernel is told the strides of what it reads and writes. Lists of live channels are those that ``lists_kernel`` and
``pack_kernel`` leave: indices, then each channel's rank, then the flag of aligned runs.
"""

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError("triton is not installed: pip install 'lomt-kernels[triton]'") from error

RUN = tl.constexpr(8)
# How a map lies: anyhow; channels side by side and aligned in eights; pixels side by side in eights, or also aligned.
ANY = tl.constexpr(0)
CHANNELS = tl.constexpr(1)
PIXELS = tl.constexpr(2)
ALIGNED_PIXELS = tl.constexpr(3)
# Places and sizes: a kernel is compiled once for all of them, not again for those that 16 divides.
NUMBERS = [
    *(f"{of}_{what}" for of in ("source", "grad", "target", "weight") for what in ("n", "c", "h", "w")),
    *(f"{what}_{of}" for what in ("stride", "padding", "dilation", "step") for of in ("h", "w")),
    *("ins", "outs", "rows", "cols", "row_stride", "col_stride", "padded_ins", "padded_outs"),
    *("pixels", "high", "wide", "source_high", "source_wide", "target_high", "target_wide", "chunk", "splits"),
]


@triton.jit
def _long(number):
    return tl.full((), 0, tl.int64) + number


@triton.jit
def _count(count, channels):
    found = channels
    if count is not None:
        found = tl.load(count)
    return found


@triton.jit
def _channel(indices, place, there):
    """What stands at some places of a list; without one, all channels are alive."""
    channel = place
    if indices is not None:
        channel = tl.load(indices + place, there, 0).to(tl.int64)
    return channel


@triton.jit
def _list(indices, count, channels, to, BLOCK: tl.constexpr):
    """Writes a list as kernels read it: how many are alive, whether all are runs, the channels, their ranks."""
    live = _count(count, channels)
    broken = live % RUN + channels % RUN
    for first in range(0, channels, BLOCK):
        place = first + tl.arange(0, BLOCK).to(tl.int64)
        there = place < channels
        channel = _channel(indices, place, there)
        head = _channel(indices, place // RUN * RUN, there)
        broken += tl.sum((there & ((channel != head + place % RUN) | (head % RUN != 0))).to(tl.int32), 0)
        tl.store(to + (place + 2), channel.to(tl.int32), there)
        tl.store(to + (channel + 2 + channels), place.to(tl.int32), there)
    tl.store(to, live)
    tl.store(to + _long(1), tl.where(broken == 0, 1, 0))


@triton.jit
def _second(lists, channels):
    """Where the second of two lists is, behind one of so many channels."""
    return lists + (_long(channels) * 2 + 2)


@triton.jit
def _alive(list_, channel, channels, there):
    """Whether channels are in a list."""
    return there & (tl.load(list_ + (channel + 2 + channels), there, 0) < tl.load(list_))


@triton.jit(do_not_specialize=NUMBERS)
def lists_kernel(in_indices, in_count, out_indices, out_count, lists, ins, outs, BLOCK: tl.constexpr):
    """Copies of both lists, with ranks and flags."""
    if tl.program_id(0) == 0:
        _list(in_indices, in_count, ins, lists, BLOCK)
    else:
        _list(out_indices, out_count, outs, _second(lists, ins), BLOCK)


@triton.jit(do_not_specialize=NUMBERS)
def pack_kernel(
    weight, scale, bias, row_indices, row_count, col_indices, col_count, packed, lists, biases,
    rows, cols, row_stride, col_stride, weight_h, weight_w,
    SCALES_ROWS: tl.constexpr, DEAD_ZERO: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Live weights side by side, scaled, a tile a program; the last programs copy the lists and the live biases."""
    tiles = tl.cdiv(cols, COLS)
    parts = tl.cdiv(rows, ROWS) * tiles
    program = tl.program_id(0)
    if program < parts:
        live_rows, live_cols = _count(row_count, rows), _count(col_count, cols)
        row = (program // tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        col = (program % tiles).to(tl.int64) * COLS + tl.arange(0, COLS)
        in_rows, in_cols = row < live_rows, col < live_cols
        if (program // tiles * ROWS < live_rows) & (program % tiles * COLS < live_cols):
            from_row, from_col = _channel(row_indices, row, in_rows), _channel(col_indices, col, in_cols)
            at = from_row[:, None] * row_stride + from_col[None, :] * col_stride
            to = row[:, None] * (_long(tiles) * COLS) + col[None, :]
            there = in_rows[:, None] & in_cols[None, :]
            for tap in range(KH * KW):
                offset = _long(tap // KW) * weight_h + _long(tap % KW) * weight_w
                value = tl.load(weight + (at + offset), there, 0.0)
                if scale is not None:
                    if SCALES_ROWS:
                        factor = tl.load(scale + from_row, in_rows, 0.0).to(tl.float32)[:, None]
                    else:
                        factor = tl.load(scale + from_col, in_cols, 0.0).to(tl.float32)[None, :]
                    value = (value.to(tl.float32) * factor).to(value.dtype)
                tl.store(packed + (to + _long(parts) * tap * (ROWS * COLS)), value)
    elif program == parts:
        _list(row_indices, row_count, rows, lists, BLOCK)
    else:
        _list(col_indices, col_count, cols, _second(lists, rows), BLOCK)
        if biases is not None:
            for first in range(0, cols, BLOCK):
                col = first + tl.arange(0, BLOCK).to(tl.int64)
                there = col < cols
                value = tl.zeros((BLOCK,), tl.float32)
                if bias is not None:
                    wanted = there
                    if DEAD_ZERO:
                        wanted = col < _count(col_count, cols)
                    value = tl.load(bias + _channel(col_indices, col, there), wanted, 0.0).to(tl.float32)
                tl.store(biases + col, value, there)


@triton.jit
def _taps(at, stride, dilation, step, K: tl.constexpr):
    """The first tap that meets a phase, and how many do; they are a step apart."""
    first = at * 0 + K
    for k in tl.static_range(K):
        first = tl.where((at - dilation * (K - 1 - k)) % stride == 0, K - 1 - k, first)
    return first, tl.cdiv(K - first, step)


@triton.jit
def _inside(at, size, delta, K: tl.constexpr, FAR: tl.constexpr):
    """A bit for each tap: whether what it reads is inside the map."""
    bits = (at * 0).to(tl.int64 if FAR else tl.int32)
    for k in tl.static_range(K):
        place = at + k * delta
        bits |= ((place >= 0) & (place < size)).to(bits.dtype) << k
    return bits


@triton.jit
def _product(
    acc, source, packed, row_list, live_rows, taps, origin, inside, there, col,
    source_c, source_h, source_w, padded_rows, width,
    first_h, first_w, many_w, step_h, step_w, delta_h, delta_w,
    FROM: tl.constexpr, RUNS: tl.constexpr, INSIDE: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    PRECISION: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """The sum over taps and live rows."""
    TAPS: tl.constexpr = KH * KW
    per_tap = tl.cdiv(live_rows, BK)
    if RUNS:
        live_rows = live_rows // RUN * RUN
    place = tl.arange(0, BK)
    # Channels are read a step ahead: the map's addresses don't wait for them, and its tiles are fetched further ahead.
    channel = tl.load(row_list + (place.to(tl.int64) + 2), place < live_rows, 0)
    for step in range(per_tap * taps):
        first, ahead, tap_h, tap_w = step * BK, (step + 1) * BK, 0, 0
        if TAPS > 1:
            first, ahead, tap = step % per_tap * BK, (step + 1) % per_tap * BK, step // per_tap
            tap_h, tap_w = tap // many_w, tap % many_w
        row = first + place
        from_row = channel.to(tl.int64)
        if RUNS:
            from_row = tl.max_contiguous(tl.multiple_of(from_row, 8), 8)
        else:
            from_row *= source_c
            if FROM == ALIGNED_PIXELS:
                from_row = tl.multiple_of(from_row, 8)
        offset, mask = origin, there
        if TAPS > 1:
            more = _long(tap_h * delta_h) * source_h + _long(tap_w * delta_w) * source_w
            offset += more
            if FROM == CHANNELS:
                offset = tl.multiple_of(offset, 8)
            elif FROM == PIXELS:
                offset = tl.max_contiguous(offset, 8)
            elif FROM == ALIGNED_PIXELS:
                offset = tl.max_contiguous(tl.multiple_of(offset, 8), 8)
        if INSIDE == 0:
            mask = mask & (((inside >> tap_h) & (inside >> (KH + tap_w)) & 1) != 0)
        mask = mask[:, None] & (row < live_rows)[None, :]
        value = tl.load(source + (offset[:, None] + from_row[None, :]), mask, 0.0)
        tap = (first_h + tap_h * step_h) * KW + first_w + tap_w * step_w
        at = (_long(tap) * padded_rows + row)[:, None] * width + col[None, :]
        acc = tl.dot(value, tl.load(packed + at), acc, input_precision=PRECISION)
        channel = tl.load(row_list + ((ahead + place).to(tl.int64) + 2), ahead + place < live_rows, 0)
    return acc


@triton.jit
def _store(target, at, channel, value, mask, ADD: tl.constexpr):
    where = target + (at[:, None] + channel[None, :])
    if ADD:
        value += tl.load(where, mask, 0.0).to(value.dtype)
    tl.store(where, value.to(target.dtype.element_ty), mask)


@triton.jit
def _store_listed(
    target, at, col_list, first, last, value, there, target_c,
    TO: tl.constexpr, RUNS: tl.constexpr, ADD: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Columns at their channels, in so many parts: the addresses of all would not fit into registers."""
    BM: tl.constexpr = value.shape[0]
    BN: tl.constexpr = value.shape[1]
    if PARTS > 1:
        left, right = tl.split(tl.permute(tl.reshape(value, (BM, 2, BN // 2)), (0, 2, 1)))
        _store_listed(target, at, col_list, first, last, left, there, target_c, TO, RUNS, ADD, PARTS // 2)
        middle = first + BN // 2
        _store_listed(target, at, col_list, middle, last, right, there, target_c, TO, RUNS, ADD, PARTS // 2)
    else:
        col = first + tl.arange(0, BN)
        written = col < (last // RUN * RUN if RUNS else last)
        channel = tl.load(col_list + (col.to(tl.int64) + 2), written, 0).to(tl.int64)
        if RUNS:
            channel = tl.max_contiguous(tl.multiple_of(channel, 8), 8)
        else:
            channel *= target_c
            if TO == ALIGNED_PIXELS:
                channel = tl.multiple_of(channel, 8)
        _store(target, at, channel, value, there[:, None] & written[None, :], ADD)


@triton.jit(do_not_specialize=NUMBERS)
def product_kernel(
    source, packed, lists, biases, target, target1, target2, target3,
    rows, cols, pixels, high, wide, source_high, source_wide, target_high, target_wide,
    source_n, source_c, source_h, source_w, target_n, target_c, target_h, target_w,
    stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, step_h, step_w,
    BACK: tl.constexpr, ADD: tl.constexpr, READERS: tl.constexpr, INSIDE: tl.constexpr,
    FROM: tl.constexpr, TO: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, PRECISION: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """A tile of an output, or of the input's gradient: pixels by live columns, summed over taps and live rows."""
    tiles = tl.cdiv(cols, BN)
    program = tl.program_id(0)
    part, reader, pixel_tile = program % tiles, program // tiles % READERS, program // tiles // READERS
    TAPS: tl.constexpr = KH * KW
    PARTS: tl.constexpr = BN // 32
    FAR: tl.constexpr = KH + KW > 31
    # Tiles of one map's pixels are neighbours, and so are its readers: what they read is fetched once.
    width, padded_rows = _long(tiles) * BN, tl.cdiv(rows, BK) * BK
    packed += reader * (padded_rows * TAPS * width)
    lists += _long(reader) * (4 + 2 * rows + 2 * cols)
    col_list = _second(lists, rows)
    live_rows, live_cols = tl.load(lists), tl.load(col_list)
    if READERS > 1:
        if reader == 1:
            target = target1
        elif reader == 2:
            target = target2
        elif reader == 3:
            target = target3

    first_h, first_w, many_h, many_w, phase = 0, 0, KH, KW, 0
    if BACK:
        pixel_tiles = tl.cdiv(pixels, BM)
        phase, pixel_tile = pixel_tile // pixel_tiles, pixel_tile % pixel_tiles
    pixel = pixel_tile * BM + tl.arange(0, BM)
    there = pixel < pixels
    if (FROM == ALIGNED_PIXELS) | (TO == ALIGNED_PIXELS):
        there = pixel < pixels // RUN * RUN
    h, w, image = pixel // wide % high, pixel % wide, (pixel // wide // high).to(tl.int64)
    if BACK:
        begin_h, begin_w = phase // stride_w + padding_h, phase % stride_w + padding_w
        first_h, many_h = _taps(begin_h, stride_h, dilation_h, step_h, KH)
        first_w, many_w = _taps(begin_w, stride_w, dilation_w, step_w, KW)
        at_h, at_w = h + (begin_h - dilation_h * first_h) // stride_h, w + (begin_w - dilation_w * first_w) // stride_w
        delta_h, delta_w = -(dilation_h * step_h // stride_h), -(dilation_w * step_w // stride_w)
        h, w = h * stride_h + phase // stride_w, w * stride_w + phase % stride_w
        there = there & (h < target_high) & (w < target_wide)
    else:
        at_h, at_w = h * stride_h - padding_h, w * stride_w - padding_w
        delta_h, delta_w = dilation_h, dilation_w
    # Hints are given where a number is made: a function's argument forgets them.
    origin = image * source_n + at_h.to(tl.int64) * source_h + at_w.to(tl.int64) * source_w
    if FROM == CHANNELS:
        origin = tl.multiple_of(origin, 8)
    elif FROM == PIXELS:
        origin = tl.max_contiguous(origin, 8)
    elif FROM == ALIGNED_PIXELS:
        origin = tl.max_contiguous(tl.multiple_of(origin, 8), 8)
    inside = _inside(at_h, source_high, delta_h, KH, FAR) | (_inside(at_w, source_wide, delta_w, KW, FAR) << KH)
    taps = tl.where(part * BN < live_cols, many_h * many_w, 0)
    col = part * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), tl.float32)
    runs = 0
    if FROM == CHANNELS:
        runs = tl.load(lists + _long(1))
    if runs != 0:
        acc = _product(
            acc, source, packed, lists, live_rows, taps, origin, inside, there, col,
            source_c, source_h, source_w, padded_rows, width,
            first_h, first_w, many_w, step_h, step_w, delta_h, delta_w,
            FROM, True, INSIDE, KH, KW, PRECISION, BK,
        )  # fmt: skip
    else:
        acc = _product(
            acc, source, packed, lists, live_rows, taps, origin, inside, there, col,
            source_c, source_h, source_w, padded_rows, width,
            first_h, first_w, many_w, step_h, step_w, delta_h, delta_w,
            FROM, False, INSIDE, KH, KW, PRECISION, BK if BK < 32 else 32,
        )  # fmt: skip

    # What is packed beyond the count is 0, but a NaN times 0 is not.
    acc = tl.where((col < live_cols)[None, :], acc, 0.0)
    last = live_cols if ADD else cols
    if biases is not None:
        acc += tl.load(biases + (_long(reader) * cols + col), col < last, 0.0)[None, :]
    at = image * target_n + h.to(tl.int64) * target_h + w.to(tl.int64) * target_w
    if TO == CHANNELS:
        at = tl.multiple_of(at, 8)
    elif TO == PIXELS:
        at = tl.max_contiguous(at, 8)
    elif TO == ALIGNED_PIXELS:
        at = tl.max_contiguous(tl.multiple_of(at, 8), 8)
    runs = 0
    if TO == CHANNELS:
        runs = tl.load(col_list + _long(1))
    if runs != 0:
        _store_listed(target, at, col_list, part * BN, last, acc, there, target_c, TO, True, ADD, PARTS)
    else:
        _store_listed(target, at, col_list, part * BN, last, acc, there, target_c, TO, False, ADD, PARTS)


@triton.jit
def _correlation(
    acc, x, grad, in_list, out_list, live_ins, live_outs, first, last, in_tile, out_tile,
    high, wide, source_high, source_wide, source_n, source_c, source_h, source_w, grad_n, grad_c, grad_h, grad_w,
    stride_h, stride_w, begin_h, begin_w,
    FROM: tl.constexpr, TO: tl.constexpr, RUNS: tl.constexpr, INSIDE: tl.constexpr, PRECISION: tl.constexpr,
    BO: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """The sum over a part of the pixels, for one tap: (live outputs, live inputs)."""
    if RUNS:
        live_ins, live_outs = live_ins // RUN * RUN, live_outs // RUN * RUN
    in_place, out_place = in_tile * BC + tl.arange(0, BC), out_tile * BO + tl.arange(0, BO)
    in_known, out_known = in_place < live_ins, out_place < live_outs
    in_channel = tl.load(in_list + (in_place.to(tl.int64) + 2), in_known, 0).to(tl.int64)
    out_channel = tl.load(out_list + (out_place.to(tl.int64) + 2), out_known, 0).to(tl.int64)
    if RUNS:
        in_channel = tl.max_contiguous(tl.multiple_of(in_channel, 8), 8)
        out_channel = tl.max_contiguous(tl.multiple_of(out_channel, 8), 8)
    else:
        in_channel *= source_c
        out_channel *= grad_c
        if FROM == ALIGNED_PIXELS:
            in_channel = tl.multiple_of(in_channel, 8)
        if TO == ALIGNED_PIXELS:
            out_channel = tl.multiple_of(out_channel, 8)
    for begin in range(first // RUN, tl.cdiv(last, RUN), BP // RUN):
        pixel = begin * RUN + tl.arange(0, BP)
        there = pixel < last
        h, w, image = pixel // wide % high, pixel % wide, (pixel // wide // high).to(tl.int64)
        to = image * grad_n + h.to(tl.int64) * grad_h + w.to(tl.int64) * grad_w
        h, w = h * stride_h + begin_h, w * stride_w + begin_w
        at = image * source_n + h.to(tl.int64) * source_h + w.to(tl.int64) * source_w
        inside = there
        if INSIDE == 0:
            inside = inside & (h >= 0) & (h < source_high) & (w >= 0) & (w < source_wide)
        if FROM == CHANNELS:
            at = tl.multiple_of(at, 8)
        elif FROM == PIXELS:
            at = tl.max_contiguous(at, 8)
        elif FROM == ALIGNED_PIXELS:
            at = tl.max_contiguous(tl.multiple_of(at, 8), 8)
        if TO == CHANNELS:
            to = tl.multiple_of(to, 8)
        elif TO == PIXELS:
            to = tl.max_contiguous(to, 8)
        elif TO == ALIGNED_PIXELS:
            to = tl.max_contiguous(tl.multiple_of(to, 8), 8)
        read = tl.load(x + (at[:, None] + in_channel[None, :]), inside[:, None] & in_known[None, :], 0.0)
        pull = tl.load(grad + (to[:, None] + out_channel[None, :]), there[:, None] & out_known[None, :], 0.0)
        acc = tl.dot(tl.trans(pull), read, acc, input_precision=PRECISION)
    return acc


@triton.jit(do_not_specialize=NUMBERS)
def weight_kernel(
    x, grad, lists, partial,
    ins, outs, pixels, high, wide, source_high, source_wide, chunk,
    source_n, source_c, source_h, source_w, grad_n, grad_c, grad_h, grad_w,
    stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w,
    INSIDE: tl.constexpr, FROM: tl.constexpr, TO: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    PRECISION: tl.constexpr, BO: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """A part's sum of the weight's gradient: live outputs by live inputs, over some of the pixels."""
    TAPS: tl.constexpr = KH * KW
    # What is read number by number needs an address each: fewer at once.
    SPARSE: tl.constexpr = (FROM != ALIGNED_PIXELS) & (BP > 16)
    FEW: tl.constexpr = BP // 2 if SPARSE else BP
    out_tiles, in_tiles = tl.cdiv(outs, BO), tl.cdiv(ins, BC)
    program = tl.program_id(0)
    tap, out_tile = program % TAPS, program // TAPS % out_tiles
    in_tile, part = program // TAPS // out_tiles % in_tiles, program // TAPS // out_tiles // in_tiles
    out_list = _second(lists, ins)
    live_ins, live_outs = tl.load(lists), tl.load(out_list)
    if (in_tile * BC < live_ins) & (out_tile * BO < live_outs):
        first = part * chunk
        last = tl.minimum(first + chunk, pixels)
        if (FROM == ALIGNED_PIXELS) | (TO == ALIGNED_PIXELS):
            last = last // RUN * RUN
        begin_h, begin_w = tap // KW * dilation_h - padding_h, tap % KW * dilation_w - padding_w
        acc = tl.zeros((BO, BC), tl.float32)
        runs = 0
        if (FROM == CHANNELS) & (TO == CHANNELS):
            runs = tl.load(lists + _long(1)) * tl.load(out_list + _long(1))
        if runs != 0:
            acc = _correlation(
                acc, x, grad, lists, out_list, live_ins, live_outs, first, last, in_tile, out_tile,
                high, wide, source_high, source_wide,
                source_n, source_c, source_h, source_w, grad_n, grad_c, grad_h, grad_w,
                stride_h, stride_w, begin_h, begin_w, FROM, TO, True, INSIDE, PRECISION, BO, BC, BP,
            )  # fmt: skip
        else:
            acc = _correlation(
                acc, x, grad, lists, out_list, live_ins, live_outs, first, last, in_tile, out_tile,
                high, wide, source_high, source_wide,
                source_n, source_c, source_h, source_w, grad_n, grad_c, grad_h, grad_w,
                stride_h, stride_w, begin_h, begin_w, FROM, TO, False, INSIDE, PRECISION, BO, BC, FEW,
            )  # fmt: skip
        row = (_long(part) * TAPS + tap) * (out_tiles * BO) + (out_tile * BO + tl.arange(0, BO))
        col = in_tile * BC + tl.arange(0, BC)
        tl.store(partial + (row[:, None] * (in_tiles * BC) + col[None, :]), acc)


@triton.jit(do_not_specialize=NUMBERS)
def reduce_kernel(
    partial, lists, scale, target, raw,
    ins, outs, padded_ins, padded_outs, splits, rows, cols,
    target_n, target_c, target_h, target_w,
    RANKED: tl.constexpr, LAST: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A row of outputs' (rows of them a conv group, of cols inputs each): partial sums, scaled; zeros for the dead."""
    TAPS: tl.constexpr = KH * KW
    blocks = tl.cdiv(cols * TAPS, BLOCK)
    program = tl.program_id(0)
    out = (program // blocks).to(tl.int64) + tl.zeros((BLOCK,), tl.int64)
    number = program % blocks * BLOCK + tl.arange(0, BLOCK)
    there = number < cols * TAPS
    if LAST:
        inner, tap = (number % cols).to(tl.int64), number // cols
    else:
        inner, tap = (number // TAPS).to(tl.int64), number % TAPS
    channel = out // rows * cols + inner
    out_list = _second(lists, ins)
    alive = _alive(lists, channel, ins, _alive(out_list, out, outs, there))
    if RANKED:
        row = tl.load(out_list + (out + 2 + outs), there, 0).to(tl.int64)
        col = tl.load(lists + (channel + 2 + ins), there, 0).to(tl.int64)
    else:
        row, col = out, inner
    size = _long(padded_outs) * padded_ins
    at = tap.to(tl.int64) * size + row * padded_ins + col
    total = tl.zeros((BLOCK,), partial.dtype.element_ty)
    for part in range(splits):
        total += tl.load(partial + (at + _long(part) * TAPS * size), alive, 0.0)
    if raw is not None:
        tl.store(raw + ((out * cols + inner) * TAPS + tap), total, there)
    if target is not None:
        if scale is not None:
            total = tl.where(alive, total * tl.load(scale + channel, there, 0.0).to(total.dtype), 0.0)
        to = (
            out * target_n + inner * target_c + (tap // KW).to(tl.int64) * target_h + (tap % KW).to(tl.int64) * target_w
        )
        tl.store(target + to, total.to(target.dtype.element_ty), there)


@triton.jit
def _place(pixel, high, wide):
    return pixel // wide // high, pixel // wide % high, pixel % wide


@triton.jit(do_not_specialize=NUMBERS)
def plain_kernel(
    source, weight, scale, bias, lists, target,
    ins, outs, rows, cols, pixels, high, wide, source_high, source_wide,
    source_n, source_c, source_h, source_w, weight_n, weight_c, weight_h, weight_w,
    target_n, target_c, target_h, target_w,
    stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w,
    BACK: tl.constexpr, ADD: tl.constexpr, DEAD_ZERO: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """The output, or the input's gradient: a conv group has cols targets, which read rows sources."""
    A: tl.constexpr = tl.float64 if source.dtype.element_ty == tl.float64 else tl.float32
    to_list, from_list = _second(lists, ins), lists
    targets, sources = outs, ins
    if BACK:
        to_list, from_list, targets, sources = lists, _second(lists, ins), ins, outs
    tiles = tl.cdiv(targets, BN)
    program = tl.program_id(0)
    pixel = (program // tiles).to(tl.int64) * BM + tl.arange(0, BM)
    col = (program % tiles).to(tl.int64) * BN + tl.arange(0, BN)
    there, known = pixel < pixels, col < targets
    image, h, w = _place(pixel, high, wide)
    written = known
    alive = _alive(to_list, col, targets, known)
    if ADD:
        written = alive
    total = tl.zeros((BM, BN), A)
    for row in range(rows):
        channel = col // cols * rows + row
        used = _alive(from_list, channel, sources, alive)
        if tl.max(used.to(tl.int32), 0) > 0:
            if BACK:
                from_weight, factor_of = channel * weight_n + col % cols * weight_c, col
            else:
                from_weight, factor_of = col * weight_n + _long(row) * weight_c, channel
            for tap in range(KH * KW):
                tap_h, tap_w = tap // KW, tap % KW
                if BACK:
                    at_h, at_w = h + padding_h - dilation_h * tap_h, w + padding_w - dilation_w * tap_w
                    inside = there & (at_h % stride_h == 0) & (at_w % stride_w == 0) & (at_h >= 0) & (at_w >= 0)
                    at_h, at_w = at_h // stride_h, at_w // stride_w
                else:
                    at_h, at_w = (
                        h * stride_h - padding_h + dilation_h * tap_h,
                        w * stride_w - padding_w + dilation_w * tap_w,
                    )
                    inside = there & (at_h >= 0) & (at_w >= 0)
                inside = inside & (at_h < source_high) & (at_w < source_wide)
                factor = tl.load(weight + (from_weight + _long(tap_h) * weight_h + _long(tap_w) * weight_w), used, 0.0)
                if scale is not None:
                    factor = (factor.to(A) * tl.load(scale + factor_of, used, 0.0).to(A)).to(factor.dtype)
                at = image * source_n + at_h * source_h + at_w * source_w
                value = tl.load(
                    source + (at[:, None] + (channel * source_c)[None, :]), inside[:, None] & used[None, :], 0.0
                )
                total += value.to(A) * factor.to(A)[None, :]
    if bias is not None:
        biased = known
        if DEAD_ZERO:
            biased = alive
        total += tl.load(bias + col, biased, 0.0).to(A)[None, :]
    to = image * target_n + h * target_h + w * target_w
    _store(target, to, col * target_c, total, there[:, None] & written[None, :], ADD)


@triton.jit(do_not_specialize=NUMBERS)
def plain_weight_kernel(
    x, grad, lists, partial,
    ins, outs, rows, cols, pixels, high, wide, source_high, source_wide, chunk,
    source_n, source_c, source_h, source_w, grad_n, grad_c, grad_h, grad_w,
    stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w,
    KH: tl.constexpr, KW: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """One tap's weight of one of each group's cols inputs, for some outputs (rows a group), a part of the pixels."""
    A: tl.constexpr = partial.dtype.element_ty
    TAPS: tl.constexpr = KH * KW
    tiles = tl.cdiv(outs, BN)
    program = tl.program_id(0)
    tap, inner = program % TAPS, (program // TAPS % cols).to(tl.int64)
    out = (program // TAPS // cols % tiles).to(tl.int64) * BN + tl.arange(0, BN)
    part = (program // TAPS // cols // tiles).to(tl.int64)
    known = out < outs
    channel = out // rows * cols + inner
    used = _alive(lists, channel, ins, _alive(_second(lists, ins), out, outs, known))
    begin_h, begin_w = tap // KW * dilation_h - padding_h, tap % KW * dilation_w - padding_w
    first = part * chunk
    last = tl.where(tl.max(used.to(tl.int32), 0) > 0, tl.minimum(first + chunk, _long(pixels)), first)
    total = tl.zeros((BN,), A)
    for begin in range(first, last, BM):
        pixel = begin + tl.arange(0, BM).to(tl.int64)
        there = pixel < last
        image, h, w = _place(pixel, high, wide)
        to = image * grad_n + h * grad_h + w * grad_w
        h, w = h * stride_h + begin_h, w * stride_w + begin_w
        inside = there & (h >= 0) & (h < source_high) & (w >= 0) & (w < source_wide)
        at = image * source_n + h * source_h + w * source_w
        mask = inside[:, None] & used[None, :]
        read = tl.load(x + (at[:, None] + (channel * source_c)[None, :]), mask, 0.0).to(A)
        pull = tl.load(grad + (to[:, None] + (out * grad_c)[None, :]), mask, 0.0).to(A)
        total += tl.sum(read * pull, 0)
    to = ((part * TAPS + tap) * outs + out) * cols + inner
    tl.store(partial + to, total, known)


@triton.jit
def _normalized(value, channel, scale, shift, mask, RECTIFY: tl.constexpr):
    A: tl.constexpr = tl.float64 if value.dtype == tl.float64 else tl.float32
    value = value.to(A)
    if scale is not None:
        value *= tl.load(scale + channel, mask, 0.0).to(A)[None, :]
    if shift is not None:
        value += tl.load(shift + channel, mask, 0.0).to(A)[None, :]
    if RECTIFY:
        # A NaN stays one.
        value = tl.where(value <= 0, 0.0, value)
    return value


@triton.jit(do_not_specialize=NUMBERS)
def pick_kernel(
    source, indices, scale, shift, target,
    rows, cols, pixels, wide, source_n, source_c, source_h, source_w, target_n, target_c, target_h, target_w, high,
    SCATTER: tl.constexpr, RECTIFY: tl.constexpr, PLANES: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Each of cols channels from the one of rows that its index names; 0 where there is none."""
    tiles = tl.cdiv(cols, BN)
    program = tl.program_id(0)
    pixel = (program // tiles).to(tl.int64) * BM + tl.arange(0, BM)
    col = (program % tiles).to(tl.int64) * BN + tl.arange(0, BN)
    there, known = pixel < pixels, col < cols
    image, h, w = _place(pixel, high, wide)
    row = tl.load(indices + col, known, 0).to(tl.int64)
    read = known & (row < rows)
    at = image * source_n + h * source_h + w * source_w
    to = image * target_n + h * target_h + w * target_w
    from_row, to_col = row * source_c, col * target_c
    if PLANES:
        there = pixel < pixels // RUN * RUN
        at, to = tl.max_contiguous(tl.multiple_of(at, 8), 8), tl.max_contiguous(tl.multiple_of(to, 8), 8)
        from_row, to_col = tl.multiple_of(from_row, 8), tl.multiple_of(to_col, 8)
    value = tl.load(source + (at[:, None] + from_row[None, :]), there[:, None] & read[None, :], 0.0)
    value = _normalized(value, col if SCATTER else row, scale, shift, read, RECTIFY)
    _store(target, to, to_col, value, there[:, None] & known[None, :], False)


@triton.jit(do_not_specialize=NUMBERS)
def rows_kernel(
    source, indices, scale, shift, target, rows, cols, pixels,
    SCATTER: tl.constexpr, RECTIFY: tl.constexpr, ALIGNED_FROM: tl.constexpr, ALIGNED_TO: tl.constexpr,
    BM: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The same where a pixel's channels are side by side: they are read and written whole, and moved in between."""
    pixel = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    there = pixel < pixels
    row, col = tl.arange(0, ROWS), tl.arange(0, COLS)
    in_rows, in_cols = row < rows, col < cols
    at, to = pixel * rows, pixel * cols
    if ALIGNED_FROM:
        at, in_rows = tl.multiple_of(at, 8), row < rows // RUN * RUN
    if ALIGNED_TO:
        to, in_cols = tl.multiple_of(to, 8), col < cols // RUN * RUN
    value = tl.load(source + (at[:, None] + row[None, :]), there[:, None] & in_rows[None, :], 0.0)
    index = tl.load(indices + col.to(tl.int64), in_cols, 0)
    read = in_cols & (index < rows)
    index = tl.where(read, index, 0)
    value = tl.gather(value, tl.broadcast_to(index[None, :], (BM, COLS)), 1)
    channel = (col if SCATTER else index).to(tl.int64)
    value = _normalized(value, channel, scale, shift, read, RECTIFY)
    value = tl.where(read[None, :], value, 0.0)
    _store(target, to, col.to(tl.int64), value, there[:, None] & in_cols[None, :], False)
