#include "convolution.h"

static double element_at(const void *base, temper_element element, int64_t index) {
  return element == TEMPER_ELEMENT_F64 ? ((const double *)base)[index] : (double)((const float *)base)[index];
}

static void set_element(void *base, temper_element element, int64_t index, double value) {
  if (element == TEMPER_ELEMENT_F64) {
    ((double *)base)[index] = value;
  } else {
    ((float *)base)[index] = (float)value;
  }
}

// x[n, channel, row, column], 0 outside.
static double input_at(const temper_convolution_job *job, int64_t n, int64_t channel, int64_t row, int64_t column) {
  if (row < 0 || row >= job->height || column < 0 || column >= job->width) return 0;
  return element_at(job->input, job->element,
                    ((n * job->channels + channel) * job->height + row) * job->width + column);
}

// w[o, c, r, q]; c counts the channels of o's group.
static int64_t weight_index(const temper_convolution_job *job, int64_t o, int64_t c, int64_t r, int64_t q) {
  return ((o * (job->channels / job->groups) + c) * job->kernel_height + r) * job->kernel_width + q;
}

static int64_t output_index(const temper_convolution_job *job, int64_t n, int64_t o, int64_t i, int64_t j) {
  return ((n * job->out_channels + o) * temper_convolution_out_height(job) + i) * temper_convolution_out_width(job) + j;
}

// y[n, o, i, j] = sum over c, r, q of w[o, c, r, q] * x[n, c, i * stride + r * dilation - padding, ...] + bias[o]
static void forward(const temper_convolution_job *job, int64_t n, int64_t o, int64_t i, int64_t j) {
  const int64_t in_group = job->channels / job->groups,
                first_channel = o / (job->out_channels / job->groups) * in_group;
  double sum = 0;
  for (int64_t c = 0; c < in_group; c++) {
    for (int64_t r = 0; r < job->kernel_height; r++) {
      for (int64_t q = 0; q < job->kernel_width; q++) {
        sum +=
            element_at(job->weight, job->element, weight_index(job, o, c, r, q)) *
            input_at(job, n, first_channel + c, i * job->stride_height + r * job->dilation_height - job->padding_height,
                     j * job->stride_width + q * job->dilation_width - job->padding_width);
      }
    }
  }
  if (job->bias) sum += element_at(job->bias, job->element, o);
  if (job->activation == TEMPER_ACTIVATION_RELU && sum < 0) sum = 0;
  set_element(job->output, job->element, output_index(job, n, o, i, j), sum);
}

// dx[n, c, row, column] = sum over o, r, q of w[o, c, r, q] * dy[n, o, i, j] where i * stride + r * dilation - padding
// = row
static void input_gradient(const temper_convolution_job *job, int64_t n, int64_t channel, int64_t row, int64_t column) {
  const int64_t in_group = job->channels / job->groups, out_group = job->out_channels / job->groups;
  const int64_t group = channel / in_group;
  double sum = 0;
  for (int64_t o = group * out_group; o < (group + 1) * out_group; o++) {
    for (int64_t r = 0; r < job->kernel_height; r++) {
      for (int64_t q = 0; q < job->kernel_width; q++) {
        const int64_t y = row + job->padding_height - r * job->dilation_height;
        const int64_t x = column + job->padding_width - q * job->dilation_width;
        if (y < 0 || y % job->stride_height || y / job->stride_height >= temper_convolution_out_height(job)) continue;
        if (x < 0 || x % job->stride_width || x / job->stride_width >= temper_convolution_out_width(job)) continue;
        sum += element_at(job->weight, job->element, weight_index(job, o, channel % in_group, r, q)) *
               element_at(job->output, job->element,
                          output_index(job, n, o, y / job->stride_height, x / job->stride_width));
      }
    }
  }
  set_element(job->input, job->element, ((n * job->channels + channel) * job->height + row) * job->width + column, sum);
}

// dw[o, c, r, q] = sum over n, i, j of dy[n, o, i, j] * x[n, c, i * stride + r * dilation - padding, ...]
static void weight_gradient(const temper_convolution_job *job, int64_t o, int64_t c, int64_t r, int64_t q) {
  const int64_t in_group = job->channels / job->groups;
  const int64_t channel = o / (job->out_channels / job->groups) * in_group + c;
  double sum = 0;
  for (int64_t n = 0; n < job->images; n++) {
    for (int64_t i = 0; i < temper_convolution_out_height(job); i++) {
      for (int64_t j = 0; j < temper_convolution_out_width(job); j++) {
        sum += element_at(job->output, job->element, output_index(job, n, o, i, j)) *
               input_at(job, n, channel, i * job->stride_height + r * job->dilation_height - job->padding_height,
                        j * job->stride_width + q * job->dilation_width - job->padding_width);
      }
    }
  }
  set_element(job->weight, job->element, weight_index(job, o, c, r, q), sum);
}

void temper_convolution_reference(const temper_convolution_job *job) {
  switch (job->kind) {
  case TEMPER_CONVOLUTION_FORWARD:
    for (int64_t n = 0; n < job->images; n++)
      for (int64_t o = 0; o < job->out_channels; o++)
        for (int64_t i = 0; i < temper_convolution_out_height(job); i++)
          for (int64_t j = 0; j < temper_convolution_out_width(job); j++) forward(job, n, o, i, j);
    return;
  case TEMPER_CONVOLUTION_INPUT_GRADIENT:
    for (int64_t n = 0; n < job->images; n++)
      for (int64_t c = 0; c < job->channels; c++)
        for (int64_t i = 0; i < job->height; i++)
          for (int64_t j = 0; j < job->width; j++) input_gradient(job, n, c, i, j);
    return;
  case TEMPER_CONVOLUTION_WEIGHT_GRADIENT:
    for (int64_t o = 0; o < job->out_channels; o++)
      for (int64_t c = 0; c < job->channels / job->groups; c++)
        for (int64_t r = 0; r < job->kernel_height; r++)
          for (int64_t q = 0; q < job->kernel_width; q++) weight_gradient(job, o, c, r, q);
    return;
  }
}
