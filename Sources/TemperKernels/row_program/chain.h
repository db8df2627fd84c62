// Template over REAL: runs a chain (chain_links.h): the steps from `chain_head` of the last one that are `chained`.

typedef struct operand_run {
  const REAL *base;
  int64_t step;  // from one segment to the next
} operand_run;

typedef struct held {
  operand_run memory;  // where the value belongs
  operand_run copy;    // where it can be read before it is there, if it is read
} held;

enum { AHEAD_LINKS = 6 };

typedef struct chain {
  temper_step *steps[TEMPER_CHAIN_STEPS];
  loop loops[TEMPER_CHAIN_STEPS];  // pointers of the present segment
  REAL immediates[TEMPER_CHAIN_STEPS];
  chain_link links[3 * TEMPER_CHAIN_STEPS + HELD_TILES + AHEAD_LINKS + 1];
  held held[HELD_TILES];
  tile_sums sums;
  int32_t steps_count, links_count, held_count, sums_count;
  const known_chain *known;  // or NULL: the links are run
  const REAL *scale;         // of a known one
} chain;

// For a link without an operand: it can be read all the same.
static const REAL nothing = 0;
static const operand_run no_operand = {&nothing, 0};

static void add_link(chain *c, int32_t code, operand_run x, operand_run y) {
  c->links[c->links_count++] = (chain_link){code, (REAL *)x.base, (REAL *)y.base, x.step, y.step};
}

// Where to read what is in `memory` once the tile is done.
static operand_run present(const chain *c, operand_run memory) {
  for (int32_t h = 0; h < c->held_count; ++h)
    if (c->held[h].memory.base == memory.base && c->held[h].copy.base) return c->held[h].copy;
  return memory;
}

static void add_step(chain *c, const block *k, const temper_step *step, const loop *l) {
  const operand_run operands[3] = {present(c, (operand_run){l->a, l->a_step}),
                                   present(c, (operand_run){l->b, l->b_step}),
                                   present(c, (operand_run){l->c, l->c_step})};
  const operand_run dst = {l->dst, l->dst_step};
  if (step->loads_tile) add_link(c, LINK_LOAD, operands[step->tile], no_operand);
  const int x = step->tile == 0 ? 1 : 0, y = step->tile == 2 ? 1 : 2;  // the operands that are not the tile
  add_link(c, LINK_CODE(step->instruction->op, step->form), operands[x], operands[y]);
  if (step->sum) add_link(c, LINK_SUM + c->sums_count++, no_operand, no_operand);
  int32_t h = 0;  // which of the held tiles has the same place
  while (h < c->held_count && c->held[h].memory.base != dst.base) ++h;
  if (!step->stored && !step->kept) return;
  if (h == c->held_count && (!step->stored || h == HELD_TILES || step->chain_head)) {
    add_link(c, LINK_STORE, dst, no_operand);
    return;
  }
  // Inputs and outputs often lie whole pages apart. A load then waits for a store at the same place of another page,
  // although they have nothing to do with each other: these stores come last.
  operand_run copy = {NULL, 0};
  if (step->kept) copy = (operand_run){k->plan->registers[step->dst.reg], k->plan->one_chain ? 0 : l->dst_step};
  c->held[h] = (held){dst, copy};
  c->held_count += h == c->held_count;
  add_link(c, LINK_HOLD + h, no_operand, no_operand);
  if (copy.base) add_link(c, LINK_STORE, copy, no_operand);
}

// The sum of a step's value over the segment that its loop is at; elements from `from` on are in memory.
static void end_sum(const block *k, temper_step *step, const loop *l, const lanes *sums, int64_t from, int64_t length,
                    int64_t row) {
  const REAL value = from == 0 ? sum_of_row(l->dst, length) : sum_with_rest(sums, l->dst, from, length);
  address(k, step->sum->dst)[row] = (REAL)(step->state = k->first ? value : step->state + value);
}

// The last elements of a segment, step by step, and the sums.
static void run_rest(chain *c, const block *k, int64_t from, int64_t length, int64_t row) {
  int32_t sum = 0;
  for (int32_t s = 0; s < c->steps_count; ++s) {
    temper_step *step = c->steps[s];
    loop l = c->loops[s];
    const uint8_t scalars = step->scalars;
    l.dst += from;
    l.a += scalars & 1 ? 0 : from;
    l.b += scalars & 2 ? 0 : from;
    l.c += scalars & 4 ? 0 : from;
    l.segments = 1;
    l.length = length - from;
    if (from < length) element_loops[step->instruction->op][scalars](&l);
    if (step->sum) end_sum(k, step, &c->loops[s], c->sums[sum++], from, length, row);
  }
}

// When the program is one chain, its blocks of columns are segments: what is in slots goes on, registers stay.
static loop steps_of_columns(const block *k, const temper_step *step, loop l) {
  l.dst_step = step->dst.slot >= 0 ? k->columns : 0;
  l.a_step = step->a.kind == TEMPER_OPERAND_FULL && step->a.slot >= 0 ? k->columns : 0;
  l.b_step = step->b.kind == TEMPER_OPERAND_FULL && step->b.slot >= 0 ? k->columns : 0;
  l.c_step = step->c.kind == TEMPER_OPERAND_FULL && step->c.slot >= 0 ? k->columns : 0;
  return l;
}

static void make_chain(chain *c, const block *k, temper_step *last) {
  c->steps_count = c->links_count = c->held_count = c->sums_count = 0;
  c->known = NULL;
  for (temper_step *step = last->chain_head; step <= last; ++step) {
    if (!step->chained) continue;
    REAL *immediate = &c->immediates[c->steps_count];
    *immediate = (REAL)step->instruction->immediate;
    loop l = loop_of(k, step, immediate, last->segmented_chain);
    if (k->plan->one_chain) l = steps_of_columns(k, step, l);
    c->steps[c->steps_count] = step;
    c->loops[c->steps_count++] = l;
    add_step(c, k, step, &l);
  }
  for (int32_t h = 0; h < c->held_count; ++h) add_link(c, LINK_RELEASE + h, c->held[h].memory, no_operand);
  add_link(c, LINK_END, no_operand, no_operand);
}

// Whether the chain is a known one but for its gradient, which is made first: LOAD, MULTIPLY by a scalar, and STORE
// into a register where it is read again. It then becomes that one, with the scalar as its scale.
static bool becomes_known(chain *c, const known_chain *known) {
  const chain_link gradient = c->links[0], factor = c->links[1], kept = c->links[2];
  if (gradient.code != LINK_LOAD) return false;
  if (factor.code != MULTIPLY_CODE(TS) && factor.code != MULTIPLY_CODE(ST)) return false;
  const bool keeps = kept.code == LINK_STORE && kept.x_step == 0;
  if (keeps != (known->gradient != 0)) return false;
  const int32_t skipped = keeps ? 2 : 1, count = c->links_count - skipped;
  chain_link *links = c->links + skipped;
  links->code = LINK_LOAD;
  bool knows = is_known(links, count, known);
  links->code = keeps ? kept.code : factor.code;
  int32_t n = 1;  // until another value takes its place
  for (; knows && keeps && n < count && !(links[n].code == LINK_STORE && links[n].x == kept.x); ++n)
    knows = (links[n].x == kept.x) == (n == known->gradient) && links[n].y != kept.x;
  if (!knows || (keeps && n <= known->gradient)) return false;
  *links = gradient;
  if (keeps) links[known->gradient].x = gradient.x, links[known->gradient].x_step = gradient.x_step;
  __builtin_memmove(c->links, links, (size_t)count * sizeof *links);
  c->links_count = count;
  c->scale = factor.x;
  return true;
}

static void find_known(chain *c) {
  static const REAL one = 1;
  c->scale = &one;
  for (size_t n = 0; n < sizeof known_chains / sizeof *known_chains; ++n) {
    c->known = &known_chains[n];
    if (is_known(c->links, c->links_count, c->known) || becomes_known(c, c->known)) return;
  }
  c->known = NULL;
}

// Makes one of two links that follow each other, where there is such a link. A comparison goes with its selection
// rather than with its load.
static void pair_links(chain *c) {
  for (int32_t n = c->links_count - 2; n >= 0; --n)
    for (int32_t p = 0; starts_pair[c->links[n].code] && p < LINK_PAIRS; ++p)
      if (c->links[n].code == pairs[p][0] && c->links[n + 1].code == pairs[p][1]) c->links[n].code = LINK_PAIR + p;
}

// Runs a chain on one segment and returns how many of its elements are done.
static int64_t run_segment(chain *c, int64_t length) {
  if (c->known) return c->known->run(c->links, *c->scale, length);
  return run_links(c->links, length, c->sums_count > 0 ? c->sums : NULL);
}

// Has a chain ask for the memory of its arrays ahead of time: the links read all of them with the same few load
// instructions, which hides from the processor that each comes in order.
static void look_ahead(chain *c) {
  operand_run arrays[2 * AHEAD_LINKS];
  int32_t count = 0;
  for (int32_t n = 0; n < c->links_count && count < 2 * AHEAD_LINKS; ++n) {
    const chain_link *l = &c->links[n];
    const operand_run operands[2] = {{l->x, l->x_step}, {l->y, l->y_step}};
    for (int o = 0; o < 2 && count < 2 * AHEAD_LINKS; ++o) {
      int32_t k = 0;
      while (k < count && arrays[k].base != operands[o].base) ++k;
      if (k == count && operands[o].step) arrays[count++] = operands[o];
    }
  }
  --c->links_count;
  for (int32_t k = 0; k < count; k += 2) add_link(c, LINK_AHEAD, arrays[k], arrays[k + 1 < count ? k + 1 : k]);
  add_link(c, LINK_END, no_operand, no_operand);
}

// The operands that go along, for a chain of one row.
static void skip_columns(loop *l, int64_t columns) {
  l->dst += l->dst_step ? columns : 0;
  l->a += l->a_step ? columns : 0;
  l->b += l->b_step ? columns : 0;
  l->c += l->c_step ? columns : 0;
}

static void run_chain(const block *k, temper_step *last) {
  const bool alone = k->plan->one_chain;
  chain c;
  make_chain(&c, k, last);
  if (alone) find_known(&c);
  if (alone && !c.known) look_ahead(&c);
  if (!c.known) pair_links(&c);
  const int64_t whole = c.loops[0].length;
  const int64_t total = alone ? k->left : c.loops[0].segments * whole;
  if (c.known) {  // nothing is kept in registers, whose size the columns of a block have
    const int64_t done = run_segment(&c, total);
    for (int32_t s = 0; s < c.steps_count; ++s) skip_columns(&c.loops[s], done);
    run_rest(&c, k, 0, total - done, 0);
    return;
  }
  for (int64_t begin = 0, row = 0; begin < total; begin += whole, ++row) {
    const int64_t length = whole < total - begin ? whole : total - begin;
    const int64_t done = run_segment(&c, length);
    if (done < length || c.sums_count > 0) run_rest(&c, k, done, length, row);
    for (int32_t n = 0; n < c.links_count; ++n) {
      c.links[n].x += c.links[n].x_step;
      c.links[n].y += c.links[n].y_step;
    }
    for (int32_t s = 0; s < c.steps_count; ++s) {
      loop *l = &c.loops[s];
      l->dst += l->dst_step, l->a += l->a_step, l->b += l->b_step, l->c += l->c_step;
    }
  }
}
