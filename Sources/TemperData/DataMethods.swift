import TemperCatalogue

/// The methods of this room.
package enum DataMethods {
  package static let all: [Method] =
    Samplers.all + Generators.all + Structure.all + LabelErrors.all + Crowd.all
    + [GraphGroups.method, LabelPropagation.method]
}
