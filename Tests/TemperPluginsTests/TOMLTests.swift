import TemperCore
import TemperPlugins
import Testing

/// What TOML means, as the JSON with the same meaning; and the places of what is wrong.
@Suite struct TOMLTests {
  @Test(arguments: [
    ("", "{}"),
    ("a = 1 # a comment\n\n# another\nb = -2_000", #"{"a": 1, "b": -2000}"#),
    ("a = 0x1F\nb = 0o17\nc = 0b101", #"{"a": 31, "b": 15, "c": 5}"#),
    ("a = 1.5\nb = -3e-2\nc = true\nd = false", #"{"a": 1.5, "b": -0.03, "c": true, "d": false}"#),
    (#"a = "x\ty\n\u00e9\\\"" "#, #"{"a": "x\ty\né\\\""}"#),
    (#"a = 'C:\new'"#, #"{"a": "C:\\new"}"#),
    ("a = \"\"\"\none\n\"two\"\"\"\"", #"{"a": "one\n\"two\""}"#),
    ("a = \"\"\"one \\\n   two\"\"\"", #"{"a": "one two"}"#),
    ("a = '''\nraw \\n'''", #"{"a": "raw \\n"}"#),
    ("a = [1, 2,\n  # three\n  3,\n]", #"{"a": [1, 2, 3]}"#),
    ("a = {b = 1, c = {d = 'x'}, e = []}", #"{"a": {"b": 1, "c": {"d": "x"}, "e": []}}"#),
    ("a.b.c = 1\na.\"d e\" = 2", #"{"a": {"b": {"c": 1}, "d e": 2}}"#),
    ("[a.b]\nc = 1\n[a]\nd = 2", #"{"a": {"b": {"c": 1}, "d": 2}}"#),
    ("[[l]]\na = 1\n[l.t]\nb = 2\n[[l]]\na = 3", #"{"l": [{"a": 1, "t": {"b": 2}}, {"a": 3}]}"#),
    ("a = 1\r\nb = 2\r\n", #"{"a": 1, "b": 2}"#),
  ])
  func meaning(_ text: String, _ json: String) throws {
    #expect(try TOMLReader.read(text) == JSON(parsing: json))
  }

  @Test(arguments: [
    ("a = ", "line 1, column 5"), ("a = 1 2", "line 1, column 7"), ("a = 1\na = 2", "a is given twice"),
    ("[t]\n[t]", "given twice"), ("a = 1\n[a]", "is a value"), ("a = 'x", "closing quote"),
    ("a = \"\\q\"", "follow a backslash"), ("a = [1 2]", "\",\" or \"]\""), ("a = {b = 1", "\",\" or \"}\""),
    ("= 1", "a name was expected"), ("[a", "\"]\""), ("a = 1979-05-27", "a value was expected"),
    ("a = " + String(repeating: "[", count: 100), "32 levels"), ("x = 1\n  y", "line 2, column 4"),
    ("a = nan", "a value was expected"),
  ])
  func mistakes(_ text: String, _ says: String) {
    #expect {
      try TOMLReader.read(text)
    } throws: { error in
      "\(error)".contains(says)
    }
  }
}
