/* temper_api.h: the table that temper_get_api gives to hosts which load the library at run time.
 *
 * Written by Tests/ABI/surface.py from temper.h, which says what each function does. Slots are only appended.
 */
#ifndef TEMPER_API_H
#define TEMPER_API_H

#include "temper.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TEMPER_API_VERSION 1

typedef struct temper_api {
  uint32_t struct_size;   /* of the library's table; slots beyond it do not exist */
  uint32_t table_version; /* of the library's table */
  uint32_t (*version)(void);
  const temper_error *(*last_error)(void);
  const char *(*status_name)(int32_t status);
  int32_t (*context_create)(temper_context **out, const temper_context_options *options, temper_error *error);
  int32_t (*context_threads)(int32_t *out, temper_context *context, temper_error *error);
  int32_t (*context_free)(temper_context *context);
  int32_t (*tensor_create)(temper_tensor **out, int32_t dtype, int32_t rank, const int64_t *sizes, temper_error *error);
  int32_t (*tensor_borrow)(temper_tensor **out, const temper_buffer *buffer, temper_error *error);
  int32_t (*tensor_slice)(temper_tensor **out, temper_tensor *tensor, int32_t axis, int64_t start, int64_t count,
    temper_error *error);
  int32_t (*tensor_reshape)(temper_tensor **out, temper_tensor *tensor, int32_t rank, const int64_t *sizes,
    temper_error *error);
  int32_t (*tensor_permute)(temper_tensor **out, temper_tensor *tensor, const int32_t *axes, int32_t axis_count,
    temper_error *error);
  int32_t (*tensor_copy)(temper_tensor **out, temper_tensor *tensor, int32_t dtype, temper_error *error);
  int32_t (*tensor_assign)(temper_tensor *target, temper_tensor *source, temper_error *error);
  int32_t (*tensor_get_info)(temper_tensor_info *out, temper_tensor *tensor, temper_error *error);
  void *(*tensor_data)(temper_tensor *tensor);
  int32_t (*tensor_free)(temper_tensor *tensor);
  int32_t (*tensor_from_dlpack)(temper_tensor **out, struct DLManagedTensorVersioned *managed, temper_error *error);
  int32_t (*tensor_to_dlpack)(struct DLManagedTensorVersioned **out, temper_tensor *tensor, temper_error *error);
  int32_t (*tensor_map_count)(uint64_t *out, temper_tensor_map *map, temper_error *error);
  int32_t (*tensor_map_get)(const char **name, temper_tensor **tensor, temper_tensor_map *map, uint64_t index,
    temper_error *error);
  int32_t (*tensor_map_find)(temper_tensor **out, temper_tensor_map *map, const char *name, temper_error *error);
  int32_t (*tensor_map_free)(temper_tensor_map *map);
  int32_t (*catalogue_count)(uint64_t *out, temper_context *context, const char *kind, temper_error *error);
  int32_t (*catalogue_name)(char *text, uint64_t capacity, uint64_t *length, temper_context *context, const char *kind,
    uint64_t index, temper_error *error);
  int32_t (*catalogue_find)(char *text, uint64_t capacity, uint64_t *length, temper_context *context, const char *kind,
    const char *name, temper_error *error);
  int32_t (*catalogue_describe)(char *text, uint64_t capacity, uint64_t *length, temper_context *context,
    const char *name, int32_t format, temper_error *error);
  int32_t (*loss_create)(temper_loss **out, temper_context *context, const char *name, const temper_param *params,
    uint64_t param_count, temper_error *error);
  int32_t (*loss_value_count)(int64_t *out, temper_loss *loss, const temper_named_tensor *inputs, uint64_t input_count,
    temper_error *error);
  int32_t (*loss_evaluate)(temper_tensor *values, temper_loss *loss, const temper_named_tensor *inputs,
    uint64_t input_count, temper_error *error);
  int32_t (*loss_value_and_grad)(double *value, const temper_named_tensor *gradients, uint64_t gradient_count,
    temper_loss *loss, const temper_named_tensor *inputs, uint64_t input_count, int32_t reduction, temper_error *error);
  int32_t (*loss_hessian_product)(const temper_named_tensor *products, const temper_named_tensor *directions,
    uint64_t product_count, temper_loss *loss, const temper_named_tensor *inputs, uint64_t input_count,
    int32_t reduction, temper_error *error);
  int32_t (*loss_free)(temper_loss *loss);
  int32_t (*op_create)(temper_op **out, temper_context *context, const char *name, const temper_param *params,
    uint64_t param_count, temper_error *error);
  int32_t (*op_result_shape)(int32_t *rank, int64_t *sizes, temper_op *op, const temper_named_tensor *inputs,
    uint64_t input_count, int32_t axis, temper_error *error);
  int32_t (*op_evaluate)(temper_tensor *result, temper_op *op, const temper_named_tensor *inputs, uint64_t input_count,
    int32_t axis, temper_error *error);
  int32_t (*op_vjp)(const temper_named_tensor *gradients, uint64_t gradient_count, temper_op *op,
    const temper_named_tensor *inputs, uint64_t input_count, temper_tensor *dy, int32_t axis, temper_error *error);
  int32_t (*op_free)(temper_op *op);
  int32_t (*optimizer_create)(temper_optimizer **out, temper_context *context, const char *name,
    const temper_param *params, uint64_t param_count, temper_error *error);
  int32_t (*optimizer_step)(temper_optimizer *optimizer, temper_tensor *const *parameters,
    temper_tensor *const *gradients, uint64_t count, double learning_rate, temper_error *error);
  int32_t (*optimizer_get_state)(temper_tensor_map **out, temper_optimizer *optimizer, temper_error *error);
  int32_t (*optimizer_set_state)(temper_optimizer *optimizer, const temper_named_tensor *state, uint64_t state_count,
    temper_error *error);
  int32_t (*optimizer_free)(temper_optimizer *optimizer);
  int32_t (*schedule_create)(temper_schedule **out, temper_context *context, const char *name,
    const temper_param *params, uint64_t param_count, temper_error *error);
  int32_t (*schedule_value)(double *out, temper_schedule *schedule, double step, temper_error *error);
  int32_t (*schedule_free)(temper_schedule *schedule);
  int32_t (*model_create)(temper_model **out, temper_context *context, const char *description,
    const int64_t *input_sizes, int32_t input_rank, int32_t dtype, uint64_t seed, temper_error *error);
  int32_t (*model_load)(temper_model **out, temper_context *context, const char *path, temper_error *error);
  int32_t (*model_save)(temper_model *model, const char *path, temper_error *error);
  int32_t (*model_predict)(temper_tensor *result, temper_model *model, temper_tensor *x, temper_tensor *mask,
    temper_error *error);
  int32_t (*model_vjp)(const temper_named_tensor *gradients, uint64_t gradient_count, temper_model *model,
    temper_tensor *x, temper_tensor *mask, temper_tensor *dy, temper_error *error);
  int32_t (*model_result_shape)(int32_t *rank, int64_t *sizes, temper_model *model, int64_t count, temper_error *error);
  int32_t (*model_parameters)(temper_tensor_map **out, temper_model *model, temper_error *error);
  int32_t (*model_describe)(char *text, uint64_t capacity, uint64_t *length, temper_model *model, int32_t format,
    temper_error *error);
  int32_t (*model_get_info)(temper_model_info *out, temper_model *model, temper_error *error);
  int32_t (*model_free)(temper_model *model);
  int32_t (*trainer_create)(temper_trainer **out, temper_model *model, temper_loss *loss, temper_optimizer *optimizer,
    temper_schedule *schedule, const temper_trainer_options *options, temper_error *error);
  int32_t (*trainer_fit)(temper_trainer *trainer, const temper_samples *data, const temper_fit_options *options,
    temper_error *error);
  int32_t (*trainer_evaluate)(temper_measurement *out, temper_trainer *trainer, const temper_samples *data,
    temper_error *error);
  int32_t (*trainer_get_info)(temper_trainer_info *out, temper_trainer *trainer, temper_error *error);
  int32_t (*trainer_history)(temper_tensor_map **out, temper_trainer *trainer, temper_error *error);
  int32_t (*trainer_save)(temper_trainer *trainer, const char *path, temper_error *error);
  int32_t (*trainer_resume)(temper_trainer *trainer, const char *path, temper_error *error);
  int32_t (*trainer_free)(temper_trainer *trainer);
  int32_t (*quantizer_create)(temper_quantizer **out, temper_context *context, const char *name,
    const temper_param *params, uint64_t param_count, temper_error *error);
  int32_t (*quantizer_quantize)(temper_quantized **out, temper_quantizer *quantizer, temper_tensor *weight,
    temper_tensor *calibration, temper_error *error);
  int32_t (*quantizer_quantize_model)(temper_model **out, temper_quantizer *quantizer, temper_model *model,
    temper_tensor *calibration, temper_error *error);
  int32_t (*quantizer_free)(temper_quantizer *quantizer);
  int32_t (*quantized_get_info)(temper_quantized_info *out, temper_quantized *quantized, temper_error *error);
  int32_t (*quantized_dequantize)(temper_tensor *result, temper_quantized *quantized, temper_error *error);
  int32_t (*quantized_matmul)(temper_tensor *result, temper_quantized *quantized, temper_tensor *x,
    temper_error *error);
  int32_t (*quantized_free)(temper_quantized *quantized);
  int32_t (*plugin_inspect)(char *text, uint64_t capacity, uint64_t *length, temper_context *context, const char *path,
    int32_t format, temper_error *error);
  int32_t (*plugin_load)(temper_plugin **out, temper_context *context, const char *path,
    const temper_plugin_options *options, temper_error *error);
  int32_t (*plugin_report)(char *text, uint64_t capacity, uint64_t *length, temper_plugin *plugin, temper_error *error);
  int32_t (*plugin_free)(temper_plugin *plugin);
  int32_t (*tensor_open_npy)(temper_tensor **out, const char *path, temper_error *error);
  int32_t (*loss_describe)(char *text, uint64_t capacity, uint64_t *length, temper_loss *loss, int32_t format,
    temper_error *error);
  int32_t (*loss_sum)(temper_loss **out, const temper_loss_term *terms, uint64_t term_count, temper_error *error);
  int32_t (*loss_through)(temper_loss **out, temper_loss *loss, const char *input, temper_op *op, temper_error *error);
  int32_t (*loss_schedule)(temper_loss **out, temper_loss *loss, const char *parameter, temper_schedule *schedule,
    int32_t clock, temper_error *error);
  int32_t (*loss_at)(temper_loss **out, temper_loss *loss, int64_t steps, int64_t epochs, temper_error *error);
  int32_t (*decoder_create)(temper_decoder **out, temper_context *context, const char *name, const temper_param *params,
    uint64_t param_count, temper_error *error);
  int32_t (*decoder_result_shape)(int32_t *rank, int64_t *sizes, temper_decoder *decoder,
    const temper_named_tensor *inputs, uint64_t input_count, temper_error *error);
  int32_t (*decoder_evaluate)(temper_tensor *result, temper_decoder *decoder, const temper_named_tensor *inputs,
    uint64_t input_count, temper_error *error);
  int32_t (*decoder_free)(temper_decoder *decoder);
  int32_t (*metric_create)(temper_metric **out, temper_context *context, const char *name, const temper_param *params,
    uint64_t param_count, temper_error *error);
  int32_t (*metric_result_shape)(int32_t *rank, int64_t *sizes, temper_metric *metric,
    const temper_named_tensor *inputs, uint64_t input_count, temper_error *error);
  int32_t (*metric_evaluate)(temper_tensor *result, temper_metric *metric, const temper_named_tensor *inputs,
    uint64_t input_count, temper_error *error);
  int32_t (*metric_free)(temper_metric *metric);
  int32_t (*optimizer_step_closure)(double *loss, temper_optimizer *optimizer, temper_tensor *const *parameters,
    temper_tensor *const *gradients, uint64_t count, double learning_rate, temper_closure_function closure, void *user,
    temper_error *error);
  int32_t (*optimizer_add_group)(temper_optimizer *optimizer, const uint64_t *positions, uint64_t position_count,
    const temper_param *params, uint64_t param_count, temper_schedule *schedule, temper_error *error);
  int32_t (*optimizer_schedule)(temper_optimizer *optimizer, const char *parameter, temper_schedule *schedule,
    temper_error *error);
  int32_t (*optimizer_evaluation_point)(temper_tensor *const *results, temper_optimizer *optimizer,
    temper_tensor *const *parameters, uint64_t count, temper_error *error);
  int32_t (*optimizer_get_info)(temper_optimizer_info *out, temper_optimizer *optimizer, temper_error *error);
  int32_t (*optimizer_save)(temper_optimizer *optimizer, const char *path, temper_error *error);
  int32_t (*optimizer_load)(temper_optimizer *optimizer, const char *path, temper_error *error);
  int32_t (*schedule_observe)(temper_schedule *schedule, const char *name, double value, temper_error *error);
  int32_t (*schedule_get_state)(temper_tensor **out, temper_schedule *schedule, temper_error *error);
  int32_t (*schedule_set_state)(temper_schedule *schedule, temper_tensor *state, temper_error *error);
  int32_t (*model_export)(temper_model *model, const char *path, const temper_param *params, uint64_t param_count,
    temper_error *error);
  int32_t (*model_gradient_norms)(const temper_named_tensor *norms, uint64_t norm_count, temper_model *model,
    temper_tensor *x, temper_tensor *mask, temper_tensor *dy, temper_error *error);
  int32_t (*procedure_create)(temper_procedure **out, temper_context *context, const char *name,
    const temper_param *params, uint64_t param_count, temper_error *error);
  int32_t (*procedure_combine)(temper_procedure **out, temper_procedure *const *procedures, uint64_t count,
    temper_error *error);
  int32_t (*procedure_free)(temper_procedure *procedure);
  int32_t (*trainer_network)(temper_model **out, temper_trainer *trainer, uint64_t index, temper_error *error);
  int32_t (*trainer_state)(temper_tensor_map **out, temper_trainer *trainer, temper_error *error);
  int32_t (*quantizer_quantize_file)(temper_quantizer *quantizer, const char *source, const char *target,
    temper_quantize_function progress, void *user, temper_error *error);
  int32_t (*quantizer_quantize_file_except)(temper_quantizer *quantizer, const char *source, const char *target,
    const char *const *skip, uint64_t skip_count, temper_quantize_function progress, void *user, temper_error *error);
  int32_t (*quantizer_run)(temper_model **out, temper_quantizer *quantizer, temper_model *model,
    const temper_quantization_options *options, temper_error *error);
  int32_t (*quantizer_observe)(temper_quantizer *quantizer, temper_model *model, temper_tensor *x, temper_error *error);
  int32_t (*quantizer_save)(temper_quantizer *quantizer, const char *path, temper_error *error);
  int32_t (*quantizer_load)(temper_quantizer *quantizer, temper_model *model, const char *path, temper_error *error);
  int32_t (*model_quantization_count)(uint64_t *out, temper_model *model, temper_error *error);
  int32_t (*model_quantization)(char *name, uint64_t capacity, uint64_t *length, temper_quantization_report *out,
    temper_model *model, uint64_t index, temper_error *error);
  int32_t (*quantized_get_report)(temper_quantization_report *out, temper_quantized *quantized, temper_error *error);
  int32_t (*quantized_matmul_int8)(temper_tensor *result, temper_quantized *quantized, temper_tensor *x,
    temper_error *error);
  int32_t (*tensor_matmul_int8)(temper_tensor *result, temper_context *context, temper_tensor *a, temper_tensor *b,
    temper_error *error);
  int32_t (*file_open)(temper_file **out, temper_context *context, const char *path, temper_error *error);
  int32_t (*file_describe)(char *text, uint64_t capacity, uint64_t *length, temper_file *file, int32_t format,
    temper_error *error);
  int32_t (*file_tensor)(temper_tensor **out, temper_file *file, const char *name, temper_error *error);
  int32_t (*file_free)(temper_file *file);
  int32_t (*model_fill)(temper_model *model, temper_file *file, const temper_param *names, uint64_t name_count,
    temper_error *error);
  int32_t (*file_write)(temper_context *context, const char *path, const temper_stored_tensor *tensors,
    uint64_t tensor_count, const temper_param *metadata, uint64_t metadata_count, temper_error *error);
  int32_t (*plugin_list)(char *text, uint64_t capacity, uint64_t *length, temper_context *context, int32_t format,
    temper_error *error);
  int32_t (*plugin_define)(temper_plugin **out, temper_context *context, const char *declaration,
    const temper_plugin_options *options, temper_error *error);
  int32_t (*plugin_formula)(temper_plugin **out, temper_context *context, const char *name, const char *formula,
    const temper_param *params, uint64_t param_count, temper_error *error);
  int32_t (*plugin_unload)(temper_plugin *plugin, temper_error *error);
  int32_t (*sampler_create)(temper_sampler **out, temper_context *context, const char *name, const temper_param *params,
    uint64_t param_count, temper_error *error);
  int32_t (*sampler_resample)(temper_tensor_map **out, temper_sampler *sampler, const temper_named_tensor *inputs,
    uint64_t input_count, uint64_t seed, temper_error *error);
  int32_t (*sampler_indices)(temper_tensor_map **out, temper_sampler *sampler, const temper_named_tensor *inputs,
    uint64_t input_count, uint64_t seed, temper_error *error);
  int32_t (*sampler_weights)(temper_tensor_map **out, temper_sampler *sampler, const temper_named_tensor *inputs,
    uint64_t input_count, temper_error *error);
  int32_t (*sampler_state)(temper_tensor_map **out, temper_sampler *sampler, temper_error *error);
  int32_t (*sampler_save)(temper_sampler *sampler, const char *path, temper_error *error);
  int32_t (*sampler_load)(temper_sampler *sampler, const char *path, temper_error *error);
  int32_t (*sampler_free)(temper_sampler *sampler);
  int32_t (*generator_create)(temper_generator **out, temper_context *context, const char *name,
    const temper_param *params, uint64_t param_count, temper_error *error);
  int32_t (*generator_generate)(temper_tensor_map **out, temper_generator *generator, const temper_named_tensor *inputs,
    uint64_t input_count, uint64_t seed, temper_error *error);
  int32_t (*generator_free)(temper_generator *generator);
  int32_t (*detector_create)(temper_detector **out, temper_context *context, const char *name,
    const temper_param *params, uint64_t param_count, temper_error *error);
  int32_t (*detector_fit)(temper_detector *detector, const temper_named_tensor *inputs, uint64_t input_count,
    temper_error *error);
  int32_t (*detector_score)(temper_tensor_map **out, temper_detector *detector, const temper_named_tensor *inputs,
    uint64_t input_count, temper_error *error);
  int32_t (*detector_state)(temper_tensor_map **out, temper_detector *detector, temper_error *error);
  int32_t (*detector_save)(temper_detector *detector, const char *path, temper_error *error);
  int32_t (*detector_load)(temper_detector *detector, const char *path, temper_error *error);
  int32_t (*detector_free)(temper_detector *detector);
  int32_t (*calibrator_create)(temper_calibrator **out, temper_context *context, const char *name,
    const temper_param *params, uint64_t param_count, temper_error *error);
  int32_t (*calibrator_fit)(temper_calibrator *calibrator, const temper_named_tensor *inputs, uint64_t input_count,
    temper_error *error);
  int32_t (*calibrator_transform)(temper_tensor_map **out, temper_calibrator *calibrator,
    const temper_named_tensor *inputs, uint64_t input_count, temper_error *error);
  int32_t (*calibrator_state)(temper_tensor_map **out, temper_calibrator *calibrator, temper_error *error);
  int32_t (*calibrator_save)(temper_calibrator *calibrator, const char *path, temper_error *error);
  int32_t (*calibrator_load)(temper_calibrator *calibrator, const char *path, temper_error *error);
  int32_t (*calibrator_free)(temper_calibrator *calibrator);
  int32_t (*robust_fit)(temper_model **out, temper_robust_report *report, temper_tensor_map **details,
    temper_context *context, temper_tensor *x, temper_tensor *y, int32_t class_count,
    const temper_robust_options *options, temper_error *error);
} temper_api;

/* The type of temper_get_api, for dlsym. */
typedef const struct temper_api *(*temper_get_api_function)(uint32_t wanted, uint32_t *granted);

#ifdef __cplusplus
}
#endif
#endif
