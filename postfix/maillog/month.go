package maillog

import (
	"bytes"
	"strings"
)

// journalctl writes days and months in the language of whoever calls it (LC_TIME), in the same order.

// monthsOf has the abbreviated names of each month that are not English: from glibc's locales for de, fr, es,
// pt, it, nl, sv, da, nb, fi, pl, cs, hu, tr and ru, in lower case and without final dots.
var monthsOf = [...]string{
	" janv ene gen tammi sty led oca янв ",
	" févr fev helmi lut úno febr şub фев февр ",
	" mär märz mars mrt maalis bře márc мар ",
	" avril april abr huhti kwi dub ápr nis апр ",
	" mai mei maj mag touko kvě máj мая май ",
	" juin juni giu kesä cze čen jún haz июн ",
	" juil juli lug heinä lip čec júl tem июл ",
	" août ago elo sie srp ağu авг ",
	" sept set syys wrz zář szept eyl сен сент ",
	" okt out ott loka paź říj eki окт ",
	" marras lis kas ноя нояб ",
	" déc dez dic des joulu gru pro ara дек ",
}

// readForeign reads a stamp as readClassic does, with the name of a month in another language ("okt 25
// 00:48:17", "11月 25 00:48:17"), and as readFull does, with that of a day.
func (c *clock) readForeign(line []byte) (at int64, rest []byte, ok bool) {
	const longest = 12 // octets of a name
	end := bytes.IndexByte(line, ' ')
	if end < 1 || end > longest {
		return 0, nil, false
	}
	after := line[end+1:]
	if len(after) > 20 && isNumber(after[:4]) && after[4] == '-' && after[7] == '-' && after[10] == ' ' {
		return c.readFull(after)
	}
	month := monthNamed(strings.TrimSuffix(strings.ToLower(string(line[:end])), "."))
	if month == 0 {
		return 0, nil, false
	}
	c.english = append(append(append(c.english[:0], months[month-1]...), ' '), after...)
	at, rest, ok = c.readClassic(c.english)
	return at, line[len(line)-len(rest):], ok
}

// monthNamed gives the number of a month; 0 if no language has it.
func monthNamed(name string) int {
	for _, unit := range []string{"月", "월"} {
		if digits, found := strings.CutSuffix(name, unit); found && isNumber([]byte(digits)) {
			if n := number([]byte(digits)); n <= len(months) {
				return n
			}
			return 0
		}
	}
	if strings.Contains(name, " ") {
		return 0
	}
	for n, english := range months {
		if name == strings.ToLower(english) || strings.Contains(monthsOf[n], " "+name+" ") {
			return n + 1
		}
	}
	return 0
}
