import TemperCatalogue

/// All methods that come with Temper.
let builtInMethods: [Method] = []
