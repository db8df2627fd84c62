/// The Python side of the hosts of Python losses: it makes arrays of what a `temper_loss_call` points to, calls the
/// user's function, and writes what that gives. Inputs are copies, so that a function may keep them.
let pythonBridge = #"""
  import ctypes, json, linecache, os, sys, traceback, types

  sys.path[:0] = [folder for folder in FOLDERS.split(":") if folder]

  class Message(ctypes.Structure):
      _fields_ = [("text", ctypes.c_void_p), ("capacity", ctypes.c_uint64)]

  class Array(ctypes.Structure):
      _fields_ = [("data", ctypes.c_void_p), ("rank", ctypes.c_int64), ("sizes", ctypes.c_int64 * 8)]

  class Value(ctypes.Structure):
      _fields_ = [("integer", ctypes.c_int64), ("real", ctypes.c_double), ("text", ctypes.c_char_p)]

  class Call(ctypes.Structure):
      _fields_ = [
          ("struct_size", ctypes.c_uint32), ("dtype", ctypes.c_int32), ("count", ctypes.c_int64),
          ("input_count", ctypes.c_uint64), ("inputs", ctypes.POINTER(Array)), ("parameters", ctypes.POINTER(Value)),
          ("values", ctypes.c_void_p), ("gradients", ctypes.POINTER(ctypes.c_void_p)), ("message", Message),
      ]

  def told(error):
      """The exception as text: its last lines, without those of this file."""
      if isinstance(error, KeyboardInterrupt):
          import _thread
          _thread.interrupt_main()  # it is raised again once the call is over
      trace = error.__traceback__
      while trace is not None and trace.tb_frame.f_code.co_filename == "<temper>":
          trace = trace.tb_next
      text = "".join(traceback.format_exception(type(error), error, trace)).strip()
      return text if len(text) <= 1400 else "... " + text[-1396:]

  class Complaint(Exception):
      """What is wrong with what a function gave, in words for its author."""

  def guarded(function):
      def call(*arguments):
          try:
              return function(*arguments)
          except Complaint as complaint:
              return str(complaint)
          except BaseException as error:
              return "it raised " + told(error)
      return call

  @guarded
  def load(path, source, nothing):
      module = types.ModuleType(path.rpartition("/")[2].removesuffix(".py"))
      module.__file__ = path
      linecache.cache[path] = len(source), None, source.splitlines(True), path
      exec(compile(source, path, "exec"), module.__dict__)
      return module

  @guarded
  def bind(function, specification, holder):
      if function:
          called = getattr(holder, function, None)
          if called is None:
              raise Complaint(f"it has no function {function}")
          holder = called
      if not callable(holder):
          raise Complaint(f"a function was expected, and a {type(holder).__name__} came")
      return guarded(HOSTS[json.loads(specification)["arrays"]](holder, **json.loads(specification)))

  class Host:
      """Calls one function. Subclasses say what its arrays are."""

      def __init__(self, function, arrays, gradients, inputs, parameters):
          self.function, self.gradients, self.inputs, self.parameters = function, gradients, inputs, parameters
          self.start()

      def __call__(self, address):
          call = Call.from_address(address)
          kind = "d" if call.dtype == 2 else "f"
          arrays, wanted = [], {}
          for index, entry in enumerate(self.inputs):
              array = call.inputs[index]
              if not array.data:
                  arrays.append(None)
                  continue
              shape = tuple(array.sizes[: array.rank])
              arrays.append(self.array(array.data, shape, "i" if entry["element"] == "int" else kind))
              if call.gradients[index]:
                  wanted[index] = call.gradients[index], shape
          given = {}
          for index, (name, what) in enumerate(self.parameters):
              value = call.parameters[index]
              given[name] = {"integer": value.integer, "boolean": bool(value.integer), "real": value.real}.get(
                  what, (value.text or b"").decode())
          self.run(call.count, kind, arrays, given, call.values, wanted)

      def run(self, count, kind, arrays, given, values, wanted):
          result = self.function(*arrays, **given)
          slopes = ()
          if self.gradients:
              if not isinstance(result, tuple) or len(result) != 2:
                  raise Complaint("it gives (values, gradients), and something else came")
              result, slopes = result
              slopes = self.sorted(slopes)
          self.write(values, (count,), kind, result, "values")
          for index, (address, shape) in wanted.items():
              if index in slopes:
                  self.write(address, shape, kind, slopes[index], "the gradient for " + self.inputs[index]["name"])

      def sorted(self, slopes):
          """Gradients by the position of their input: of a dict by name, a tuple in order, or one for the only one."""
          possible = [i for i, entry in enumerate(self.inputs) if entry["differentiable"]]
          if isinstance(slopes, dict):
              by_name = {self.inputs[i]["name"]: i for i in possible}
              if set(slopes) != set(by_name):
                  raise Complaint(f"gradients are for {', '.join(by_name)}; those for {', '.join(slopes)} came")
              return {by_name[name]: slope for name, slope in slopes.items()}
          if not isinstance(slopes, tuple):
              slopes = (slopes,)
          if len(slopes) != len(possible):
              raise Complaint(f"there are {len(possible)} inputs with a gradient, and {len(slopes)} gradients came")
          return dict(zip(possible, slopes))

  class NumPy(Host):
      def start(self):
          import numpy
          self.numpy = numpy

      def view(self, address, shape, kind):
          count = 1
          for size in shape:
              count *= size
          memory = (ctypes.c_char * (count * (8 if kind == "d" else 4))).from_address(address)
          return self.numpy.frombuffer(memory, kind).reshape(shape)

      def array(self, address, shape, kind):
          return self.view(address, shape, kind).copy()

      def write(self, address, shape, kind, result, what):
          try:
              result = self.numpy.asarray(result)
              real = result.dtype.kind in "fiub"
          except Exception:
              real = False
          if not real:
              raise Complaint(f"{what} are an array of numbers, and a {type(result).__name__} came")
          if result.shape != shape and result.shape != shape + (1,):
              raise Complaint(f"{what} have the shape {shape}, and an array of shape {result.shape} came")
          self.view(address, shape, kind)[...] = result.reshape(shape)

  class Torch(NumPy):
      def start(self):
          super().start()
          import torch
          self.torch, self.process = torch, os.getpid()

      def run(self, count, kind, arrays, given, values, wanted):
          torch, tensors = self.torch, []
          if self.process != os.getpid():  # a child that fork made does not have the threads that PyTorch counts on
              torch.set_num_threads(1)
              self.process = os.getpid()
          for index, array in enumerate(arrays):
              tensor = None if array is None else torch.from_numpy(array)
              tensors.append(tensor.long() if tensor is not None and array.dtype.kind == "i" else tensor)
              if index in wanted and not self.gradients:
                  tensors[-1].requires_grad_()
          if self.gradients:
              with torch.no_grad():
                  return super().run(count, kind, tensors, given, values, wanted)
          result = self.function(*tensors, **given)
          if not isinstance(result, torch.Tensor):
              raise Complaint(f"values are a tensor, and a {type(result).__name__} came")
          self.write(values, (count,), kind, result, "values")
          if wanted:
              if not result.requires_grad:
                  raise Complaint("its values do not depend on the inputs by operations that PyTorch differentiates")
              slopes = torch.autograd.grad(result.sum(), [tensors[index] for index in wanted], allow_unused=True)
              for (index, (address, shape)), slope in zip(wanted.items(), slopes):
                  slope = torch.zeros(shape) if slope is None else slope
                  self.write(address, shape, kind, slope, "the gradient for " + self.inputs[index]["name"])

      def write(self, address, shape, kind, result, what):
          if isinstance(result, self.torch.Tensor):
              result = result.detach().cpu().numpy()
          super().write(address, shape, kind, result, what)

  class JAX(NumPy):
      def start(self):
          super().start()
          import jax
          self.jax = jax

      def run(self, count, kind, arrays, given, values, wanted):
          enable_x64 = getattr(self.jax, "enable_x64", None)  # where JAX has it depends on its version
          if not callable(enable_x64):
              from jax.experimental import enable_x64
          with enable_x64(kind == "d"):
              arrays = [None if array is None else self.jax.numpy.asarray(array) for array in arrays]
              if self.gradients or not wanted:
                  return super().run(count, kind, arrays, given, values, wanted)
              order = list(wanted)

              def of(*moved):
                  changed = list(arrays)
                  for index, array in zip(order, moved):
                      changed[index] = array
                  result = self.function(*changed, **given)
                  return result.sum(), result

              slopes, result = self.jax.grad(of, argnums=tuple(range(len(order))), has_aux=True)(
                  *[arrays[index] for index in order])
              self.write(values, (count,), kind, result, "values")
              for index, slope in zip(order, slopes):
                  address, shape = wanted[index]
                  self.write(address, shape, kind, slope, "the gradient for " + self.inputs[index]["name"])

  class Buffer(Host):
      """Without NumPy: memoryviews of copies, indexed as x[n, d]; results are lists, flat or by row, or buffers."""

      def start(self):
          pass

      def array(self, address, shape, kind):
          count = 1
          for size in shape:
              count *= size
          memory = bytearray(ctypes.string_at(address, count * (8 if kind == "d" else 4)))
          return memoryview(memory).cast(kind, shape) if count else memoryview(memory).cast(kind)

      def write(self, address, shape, kind, result, what):
          def flat(items):
              for item in items.tolist() if isinstance(items, memoryview) else items:
                  if hasattr(item, "__iter__"):
                      yield from flat(item)
                  else:
                      yield float(item)
          count = 1
          for size in shape:
              count *= size
          try:
              numbers = list(flat(result))
          except TypeError:
              raise Complaint(f"{what} are a list of numbers, and a {type(result).__name__} came")
          if len(numbers) != count:
              raise Complaint(f"{what} are {count} numbers, and {len(numbers)} came")
          kind = ctypes.c_double if kind == "d" else ctypes.c_float
          (kind * count).from_address(address)[:] = numbers

  HOSTS = {"numpy": NumPy, "torch": Torch, "jax": JAX, "buffer": Buffer}
  """#
