import TemperCore
