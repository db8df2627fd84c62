#include "convolution.h"

#include "plan.h"

void temper_convolution_run_piece(const temper_convolution_job *job, const temper_convolution_plan *plan, int32_t phase,
                                  int64_t piece, void *workspace, void *scratch) {
  if (job->kind == TEMPER_CONVOLUTION_WEIGHT_GRADIENT) {
    if (phase == 0) {
      temper_weight_gradient_run_piece(job, plan, piece, workspace, scratch);
    } else {
      temper_weight_gradient_add_parts(job, plan, piece, workspace);
    }
  } else if (phase == 0) {
    temper_correlation_arrange_filters(job, plan, piece, workspace);
  } else {
    temper_correlation_run_piece(job, plan, piece, workspace, scratch);
  }
}

void temper_convolution_run(const temper_convolution_job *job, const temper_convolution_plan *plan, void *workspace,
                            void *scratch) {
  for (int32_t phase = 0; phase < plan->phase_count; phase++) {
    for (int64_t piece = 0; piece < plan->piece_counts[phase]; piece++) {
      temper_convolution_run_piece(job, plan, phase, piece, workspace, scratch);
    }
  }
}
