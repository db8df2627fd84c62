// Template over REAL: one program over many arrays that lie apart.
//
// What a program decides before its first block depends on which slots share memory, not on where that is. So it is
// decided once, and a program that is one chain does nothing else for an array than to put its places into the links.

enum {
  SWEPT_PLACES = 24,                  // different arrays that a chain reads or writes; with more it goes block by block
  SWEPT_PIECE = 1024 / sizeof(REAL),  // columns at a time while the next array's are asked for
  SWEPT_AHEAD = 4096 / sizeof(REAL),  // as many of those: the processor sees the others come
};

// An operand of a link that moves from array to array.
typedef struct swept_operand {
  REAL **address;
  int32_t place;
} swept_operand;

typedef struct swept_chain {
  chain chain;
  int16_t slots[SWEPT_PLACES];  // one slot of each place
  bool written[SWEPT_PLACES];
  int32_t places, operands_count;
  swept_operand operands[2 * (3 * TEMPER_CHAIN_STEPS + HELD_TILES + 1)];
} swept_chain;

// The place of an operand of the chain as it was made, or -1 for what is no slot's memory. Too many: SWEPT_PLACES.
static int32_t place_of(swept_chain *swept, const temper_plan *plan, const REAL *address) {
  for (int32_t p = 0; p < swept->places; ++p)
    if (plan->slots[swept->slots[p]].slot->base == address) return p;
  for (int32_t s = 0; s < plan->program->slot_count; ++s) {
    const temper_slot *slot = plan->slots[s].slot;
    if (slot->base != address || slot->column_stride != 1) continue;
    if (swept->places == SWEPT_PLACES) return SWEPT_PLACES;
    swept->slots[swept->places] = (int16_t)s;
    swept->written[swept->places] = false;
    return swept->places++;
  }
  return -1;
}

static bool make_swept(swept_chain *swept, const block *k, temper_step *last) {
  chain *c = &swept->chain;
  make_chain(c, k, last);
  find_known(c);
  swept->places = swept->operands_count = 0;
  for (int32_t n = 0; n < c->links_count; ++n) {
    const int32_t x = place_of(swept, k->plan, c->links[n].x), y = place_of(swept, k->plan, c->links[n].y);
    if (x == SWEPT_PLACES || y == SWEPT_PLACES) return false;
    if (x >= 0) swept->operands[swept->operands_count++] = (swept_operand){&c->links[n].x, x};
    if (y >= 0) swept->operands[swept->operands_count++] = (swept_operand){&c->links[n].y, y};
    const int32_t code = c->links[n].code;
    const bool stores = code == LINK_STORE || (code >= LINK_RELEASE && code < LINK_RELEASE + HELD_TILES);
    if (stores && x >= 0) swept->written[x] = true;
  }
  return true;
}

// Puts places into the links: columns from `column` on.
static void aim(swept_chain *swept, REAL *const *places, int64_t column) {
  for (int32_t n = 0; n < swept->operands_count; ++n)
    *swept->operands[n].address = places[swept->operands[n].place] + column;
}

// The last elements of an array, fewer than a tile: in a tile's room.
static void sweep_rest(swept_chain *swept, REAL *const *places, int64_t column, int64_t length) {
  REAL room[SWEPT_PLACES][TILE];
  REAL *rooms[SWEPT_PLACES];
  for (int32_t p = 0; p < swept->places; ++p) {
    rooms[p] = room[p];
    __builtin_memset(room[p], 0, sizeof room[p]);
    __builtin_memcpy(room[p], places[p] + column, (size_t)length * sizeof(REAL));
  }
  aim(swept, rooms, 0);
  run_segment(&swept->chain, TILE);
  for (int32_t p = 0; p < swept->places; ++p)
    if (swept->written[p]) __builtin_memcpy(places[p] + column, room[p], (size_t)length * sizeof(REAL));
}

// The next array's memory is asked for, into the second-level cache, while this one's is worked on: it is too short for
// the processor to see it come. Piece by piece, because only so many lines can be under way: the rest would wait.
static void ask_for_places(REAL *const *places, int32_t count, int64_t begin, int64_t end) {
  for (int32_t p = 0; p < count; ++p)
    for (int64_t column = begin; column < end; column += 64 / (int64_t)sizeof(REAL))
      __builtin_prefetch(places[p] + column, 0, 2);
}

static void places_of(const swept_chain *swept, void *const *bases, REAL **places) {
  for (int32_t p = 0; p < swept->places; ++p) places[p] = bases[swept->slots[p]];
}

static void sweep_chain(swept_chain *swept, const temper_plan *plan, void *const *bases, const int64_t *lengths,
                        int64_t begin, int64_t end) {
  const int64_t segment = plan->shape.columns, piece = SWEPT_PIECE < segment ? SWEPT_PIECE : segment;
  const int32_t slots = plan->program->slot_count;
  REAL *places[SWEPT_PLACES], *next[SWEPT_PLACES];
  for (int64_t array = begin; array < end; ++array) {
    const int64_t after = array + 1 < end ? lengths[array + 1] : 0;
    const int64_t ahead = after < SWEPT_AHEAD ? after : SWEPT_AHEAD;
    places_of(swept, bases + array * slots, places);
    if (ahead > 0) places_of(swept, bases + (array + 1) * slots, next);
    for (int64_t column = 0, length; column < lengths[array]; column += length) {
      const int64_t left = lengths[array] - column, most = column < ahead ? piece : segment;
      length = left < most ? left : most;
      if (column < ahead)
        ask_for_places(next, swept->places, column,
                       length == left || ahead < column + length ? ahead : column + length);
      aim(swept, places, column);
      const int64_t done = run_segment(&swept->chain, length);
      if (done < length) sweep_rest(swept, places, column + done, length - done);
    }
  }
}

void VARIANT(temper_row_program_sweep)(const temper_row_program *program, const temper_slot *slots, void *const *bases,
                                       const int64_t *lengths, int64_t begin, int64_t end, void *scratch) {
  temper_slot here[TEMPER_MAX_SLOTS];
  for (int32_t s = 0; s < program->slot_count; ++s) {
    here[s] = slots[s];
    here[s].base = bases[begin * program->slot_count + s];
  }
  temper_plan plan;
  temper_row_program_plan(&plan, program, here, 0, program->columns, sizeof(REAL), scratch);
  if (plan.one_chain) {
    const block k = {.plan = &plan,
                     .rows = 1,
                     .columns = plan.shape.columns,
                     .pitch = plan.shape.columns,
                     .left = program->columns,
                     .first = true};
    swept_chain swept;
    temper_step *last = NULL;
    for (int32_t i = 0; i < program->instruction_count; ++i) {
      temper_step *step = &plan.steps[i];
      if (step->chained && step->chain_head) last = step;
      if (!step->chained && !step->idle) run_step(&k, step);
    }
    if (make_swept(&swept, &k, last)) {
      sweep_chain(&swept, &plan, bases, lengths, begin, end);
      return;
    }
  }
  for (int64_t array = begin; array < end; ++array) {
    for (int32_t s = 0; s < program->slot_count; ++s) here[s].base = bases[array * program->slot_count + s];
    run_blocks(&plan, 0, 1, 0, lengths[array]);
  }
}
