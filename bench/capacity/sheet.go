package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go/constant"
	"go/token"
	"go/types"
)

// sheet is a calculation that a reader can check: each line has its arithmetic. The result of a line is that of the arithmetic as
// it is printed, so a reader with a calculator gets the same.
type sheet struct {
	figures figures
	lines   []line
	used    []string // names of figures
}

type line struct {
	title      string // of a part; then the rest is empty
	name, unit string
	arithmetic string
	result     float64
	remark     string
}

func (s *sheet) begin(title string) { s.lines = append(s.lines, line{title: title}) }

// add writes a line and returns its result. Each %s of the arithmetic stands for a number, or for a figure, which is then listed with
// its origin.
func (s *sheet) add(name, unit, arithmetic string, values ...any) float64 {
	return s.put(line{name: name, unit: unit}, arithmetic, values)
}

// ceil is add, rounded up.
func (s *sheet) ceil(name, unit, arithmetic string, values ...any) float64 {
	return s.put(line{name: name, unit: unit, remark: "rounded up"}, arithmetic, values)
}

// limit compares a rate with the most that was measured.
func (s *sheet) limit(name string, rate float64, most figure) {
	s.put(line{name: name + ", of what was measured", unit: "%"}, "%s / %s * 100", []any{rate, most})
	if last := &s.lines[len(s.lines)-1]; last.result > 50 {
		last.remark = "TOO MUCH: plan with half of what was measured"
	}
}

func (s *sheet) put(l line, arithmetic string, values []any) float64 {
	text := make([]any, len(values))
	for i, value := range values {
		switch v := value.(type) {
		case figure:
			if v.Name == "" {
				panic("there is no such figure: " + l.name)
			}
			text[i] = number(v.Value)
			s.use(v.Name)
		case float64:
			text[i] = number(v)
		}
	}
	l.arithmetic = fmt.Sprintf(arithmetic, text...)
	l.result = evaluate(l.arithmetic)
	if l.remark == "rounded up" {
		l.result = math.Max(1, math.Ceil(l.result))
	}
	s.lines = append(s.lines, l)
	return round(l.result)
}

func (s *sheet) use(name string) {
	for _, used := range s.used {
		if used == name {
			return
		}
	}
	s.used = append(s.used, name)
}

// evaluate computes an arithmetic as it is printed.
func evaluate(arithmetic string) float64 {
	// Constants of Go are exact, and an integer divided by an integer would be one.
	expression := strings.ReplaceAll(arithmetic, ",", "")
	result, err := types.Eval(token.NewFileSet(), nil, token.NoPos, "1.0 * "+strings.ReplaceAll(expression, " / ", " * 1.0 / "))
	if err != nil {
		panic(fmt.Sprintf("%s: %v", arithmetic, err)) // a mistake in the call of add
	}
	value, _ := constant.Float64Val(constant.ToFloat(result.Value))
	return value
}

// round keeps three digits, as number prints.
func round(v float64) float64 {
	rounded, _ := strconv.ParseFloat(strings.ReplaceAll(number(v), ",", ""), 64)
	return rounded
}

// number prints integers whole, with commas, and others with three digits.
func number(v float64) string {
	if v != math.Trunc(v) {
		if v >= 100 {
			v = math.Round(v)
		} else {
			v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
		}
	}
	text := strconv.FormatFloat(v, 'f', -1, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		return whole + "." + fraction
	}
	return whole
}

// write prints the sheet, and the figures that it uses.
func (s *sheet) write(w io.Writer) error {
	var b strings.Builder
	for _, l := range s.lines {
		if l.title != "" {
			fmt.Fprintf(&b, "\n%s\n", l.title)
			continue
		}
		result := number(l.result)
		if l.unit == "/s" || l.unit == "%" {
			result += l.unit
		} else if l.unit != "" {
			result += " " + l.unit
		}
		fmt.Fprintf(&b, "  %-55s %14s = %s", l.name, result, l.arithmetic)
		if l.remark != "" {
			fmt.Fprintf(&b, ", %s", l.remark)
		}
		b.WriteByte('\n')
	}
	b.WriteString("\nFigures\n")
	for _, name := range s.used {
		f := s.figures.byName[name]
		fmt.Fprintf(&b, "  %s %s: %s\n      %s\n", number(f.Value), f.Unit, f.What, f.Origin)
	}
	_, err := io.WriteString(w, b.String()[1:])
	return err
}
