"""What studies measured: tables, files, intervals over seeds."""

import csv

import numpy as np

# t such that Student's distribution with n - 1 degrees of freedom lies in [-t, t] with 95%, by n; between two of them
# the larger t is taken.
T95 = {
    2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262, 12: 2.201, 15: 2.145,
    20: 2.093, 30: 2.045, 60: 2.001, 100: 1.984,
}  # fmt: skip


def interval(values):
    """Mean and half the width of its 95% interval."""
    values = np.asarray(values)
    if len(values) < 2:
        return values.mean(), np.nan
    t = T95[max(n for n in T95 if n <= len(values))]
    return values.mean(), t * values.std(ddof=1) / np.sqrt(len(values))


class Results:
    """Accuracies by setting, measure, label and seed. `kind`: what labels stand for; one of them is the baseline."""

    def __init__(self, baseline, kind):
        self.rows, self.baseline, self.kind = [], baseline, kind

    def of(self, setting, measure, label):
        return [value for s, m, n, _, value in self.rows if (s, m, n) == (setting, measure, label)]

    def labels(self, setting):
        return list(dict.fromkeys(label for s, _, label, _, _ in self.rows if s == setting))

    def measures(self, setting):
        return list(dict.fromkeys(measure for s, measure, *_ in self.rows if s == setting))

    def mark(self, setting, measure, label):
        """Whether the difference from the baseline, seed by seed, is clearly above or below 0."""
        own, base = self.of(setting, measure, label), self.of(setting, measure, self.baseline)
        if label == self.baseline or len(own) != len(base):
            return " "
        mean, half = interval(np.subtract(own, base))
        return "+" if mean - half > 0 else "-" if mean + half < 0 else " "

    def table(self, settings):
        """Lines of text; in the order of the first setting's first measure."""
        columns = [(s, m) for s in settings for m in self.measures(s)]
        first = columns[0]
        labels = sorted(self.labels(first[0]), key=lambda label: -np.mean(self.of(*first, label)))
        width = max(map(len, labels)) + 2
        heads = [s if i == 0 or columns[i - 1][0] != s else "" for i, (s, _) in enumerate(columns)]
        lines = ["", " " * width + "".join(f"  {head:<15}" for head in heads).rstrip()]
        lines.append(self.kind.ljust(width) + "".join(f"{m:>15}  " for _, m in columns).rstrip())
        for label in labels:
            line = label.ljust(width)
            for column in columns:
                mean, half = interval(self.of(*column, label))
                line += f"{100 * mean:8.1f} ± {100 * half:4.1f} {self.mark(*column, label)}"
            lines.append(line.rstrip())
        return lines

    def summary(self, settings, heads, columns):
        """A table in Markdown, the best on average first: the first measure with its interval, the second in brackets.
        columns: {head: label -> text} between the label and the settings."""
        labels = sorted(
            self.labels(settings[0]),
            key=lambda label: -np.mean([np.mean(self.of(s, self.measures(s)[0], label)) for s in settings]),
        )
        titles = [self.kind, *columns, *heads]
        lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
        for label in labels:
            cells = [text(label) for text in columns.values()]
            for setting in settings:
                first, *others = self.measures(setting)
                mean, half = interval(self.of(setting, first, label))
                rest = ", ".join(f"{100 * np.mean(self.of(setting, name, label)):.1f}" for name in others)
                mark = self.mark(setting, first, label).strip()
                cells.append(f"{100 * mean:.1f} ± {100 * half:.1f}{mark}" + (f" ({rest})" if rest else ""))
            lines.append(f"| {label.replace('*', chr(92) + '*')} | " + " | ".join(cells) + " |")
        return lines

    def behind(self, label, setting, rivals):
        """(points, rival): how far a label is behind the best of the rivals, by the first measure."""
        measure = self.measures(setting)[0]
        means = {name: np.mean(self.of(setting, measure, name)) for name in rivals if self.of(setting, measure, name)}
        best = max(means, key=means.get)
        return 100 * (means[best] - np.mean(self.of(setting, measure, label))), best

    def write(self, path):
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["setting", "measure", self.kind, "seed", "accuracy"])
            writer.writerows(self.rows)

    def panels(self, settings):
        """(title, [(label, mean, half)]) for each setting, of its first measure and best first."""
        for setting in settings:
            measure = self.measures(setting)[0]
            points = [(label, *interval(self.of(setting, measure, label))) for label in self.labels(setting)]
            yield f"{setting}, {measure} accuracy", sorted(points, key=lambda point: -point[1])
