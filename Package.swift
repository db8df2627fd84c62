// swift-tools-version: 6.2
import PackageDescription

// Every Swift module: language mode 6, strict memory safety, no warning let through. Regular expressions, which no room
// uses, are not imported: their parser is a tenth of the library. The linker drops and folds functions by their
// sections.
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .unsafeFlags([
    "-Xfrontend", "-disable-implicit-string-processing-module-import", "-Xfrontend", "-function-sections",
  ]),
]

// The kernels are C and are always optimised, in debug builds too: tests exercise the code that ships.
let kernelSettings: [CSetting] = [
  .unsafeFlags([
    "-O3", "-std=gnu17", "-ffunction-sections", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-Werror",
  ])
]

let forSize: [SwiftSetting] = [.unsafeFlags(["-Osize"], .when(configuration: .release))]

/// A room of the house (see ../shared/DESIGN.md): it imports only the rooms named. Rooms of records and of what runs
/// once or once a step (`isSmall`) are compiled for size: nothing in them is waited for.
func room(_ name: String, _ dependencies: [Target.Dependency], isSmall: Bool = false) -> Target {
  .target(
    name: name, dependencies: dependencies,
    swiftSettings: strict + (isSmall ? forSize : []))
}

func tests(_ name: String, _ dependencies: [Target.Dependency], _ flags: [String] = []) -> Target {
  .testTarget(
    name: name + "Tests", dependencies: dependencies,
    swiftSettings: [.swiftLanguageMode(.v6), .unsafeFlags(flags)])
}

let package = Package(
  name: "Temper",
  products: [.library(name: "temper", type: .dynamic, targets: ["Temper"])],
  targets: [
    .systemLibrary(name: "CTemper", path: "include"),
    .target(
      name: "TemperEdge", dependencies: ["CTemper"], cSettings: kernelSettings + [.headerSearchPath("../../include")]),
    // The kernels call nothing back: nothing unwinds through them.
    .target(
      name: "TemperKernels",
      cSettings: kernelSettings + [.unsafeFlags(["-fno-asynchronous-unwind-tables"], .when(configuration: .release))]),
    room("TemperCore", ["TemperKernels"]),
    room("TemperGraph", ["TemperCore", "TemperKernels"], isSmall: true),
    room("TemperCatalogue", ["TemperGraph", "TemperCore", "TemperKernels"], isSmall: true),
    room("TemperNetworks", ["TemperCatalogue", "TemperGraph", "TemperCore"], isSmall: true),
    room("TemperLosses", ["TemperCatalogue", "TemperGraph", "TemperCore", "TemperKernels"], isSmall: true),
    room("TemperOptimizers", ["TemperCatalogue", "TemperGraph", "TemperCore", "TemperKernels"], isSmall: true),
    room("TemperData", ["TemperCatalogue", "TemperGraph", "TemperCore", "TemperKernels"], isSmall: true),
    room(
      "TemperAssurance", ["TemperData", "TemperCatalogue", "TemperGraph", "TemperCore", "TemperKernels"], isSmall: true),
    room(
      "TemperTraining", ["TemperNetworks", "TemperCatalogue", "TemperGraph", "TemperCore", "TemperKernels"],
      isSmall: true),
    room(
      "TemperProcedures",
      ["TemperData", "TemperTraining", "TemperNetworks", "TemperCatalogue", "TemperGraph", "TemperCore"],
      isSmall: true),
    room(
      "TemperQuantization", ["TemperNetworks", "TemperCatalogue", "TemperGraph", "TemperCore", "TemperKernels"],
      isSmall: true),
    room(
      "TemperAutomatic", ["TemperData", "TemperTraining", "TemperNetworks", "TemperCatalogue", "TemperCore"],
      isSmall: true),
    .target(name: "TemperIsolation", cSettings: kernelSettings),
    // libffi comes from its archive (libffi_pic.a): one file less that must be there when a program starts.
    .target(name: "TemperForeign", cSettings: kernelSettings, linkerSettings: [.linkedLibrary("ffi_pic")]),
    room(
      "TemperPlugins",
      ["CTemper", "TemperForeign", "TemperIsolation", "TemperCatalogue", "TemperGraph", "TemperCore"], isSmall: true),
    .target(
      name: "Temper",
      dependencies: [
        "CTemper", "TemperEdge", "TemperAutomatic", "TemperPlugins", "TemperQuantization", "TemperProcedures",
        "TemperTraining",
        "TemperAssurance", "TemperData",
        "TemperOptimizers", "TemperLosses", "TemperNetworks", "TemperCatalogue", "TemperGraph", "TemperCore",
      ],
      exclude: ["temper.map", "temper.pc.in"],
      swiftSettings: strict + forSize,
      linkerSettings: [
        .unsafeFlags([
          "-static-stdlib", "-Xlinker", "--version-script=Sources/Temper/temper.map", "-Xlinker",
          "-soname=libtemper.so.1", "-Xlinker", "--icf=safe", "-Xlinker", "--wrap=_swift_stdlib_getScalarName",
        ])
      ]),
    // The references are loops over many elements: optimised, they take seconds instead of minutes.
    .target(
      name: "TemperReference", dependencies: ["TemperGraph", "TemperCore"], path: "Tests/TemperReference",
      swiftSettings: [.swiftLanguageMode(.v6), .unsafeFlags(["-O"])]),
    tests("TemperKernels", ["TemperKernels"], ["-O"]),
    tests("TemperCore", ["TemperCore"]),
    tests("TemperGraph", ["TemperReference", "TemperGraph", "TemperCore"], ["-O"]),
    tests(
      "TemperCatalogue",
      [
        "TemperReference", "TemperNetworks", "TemperLosses", "TemperOptimizers", "TemperCatalogue", "TemperGraph",
        "TemperCore",
      ]),
    tests("TemperNetworks", ["TemperNetworks", "TemperCatalogue", "TemperGraph", "TemperCore"]),
    tests(
      "TemperTraining",
      [
        "TemperTraining", "TemperLosses", "TemperOptimizers", "TemperNetworks", "TemperCatalogue", "TemperGraph",
        "TemperCore",
      ]),
    tests("TemperData", ["TemperAssurance", "TemperData", "TemperCatalogue", "TemperCore"]),
    tests("TemperPlugins", ["TemperPlugins", "TemperCore"]),
    tests(
      "TemperQuantization", ["TemperQuantization", "TemperNetworks", "TemperCatalogue", "TemperGraph", "TemperCore"]),
  ]
)
