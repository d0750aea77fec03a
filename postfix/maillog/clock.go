package maillog

import (
	"bytes"
	"time"
)

// clock reads the time stamps of a log: syslog's classic one, which has no year, and RFC 3339's, with
// fractions or without, with or without a colon in its zone (as journalctl -o short-iso writes it). It
// remembers the hour it saw last, because working out a date costs more than all else that is done with
// most lines.
type clock struct {
	// latest is a time that no line of the log is much later than: it tells the year of the first.
	latest time.Time
	zone   *time.Location // of classic stamps

	year      int     // of the line before; 0 for none
	classic   [9]byte // "Nov 25 00", whose time is classicAt
	classicAt int64
	iso       [13]byte // "2026-11-25T00", in isoZone
	isoZone   [6]byte
	isoAt     int64

	english []byte // a stamp of another language, translated
}

// read gives the time at the start of a line in seconds, and what follows it.
func (c *clock) read(line []byte) (at int64, rest []byte, ok bool) {
	switch {
	case len(line) < 17:
		return 0, nil, false
	case isDigit(line[0]) && len(line) > 19 && line[4] == '-':
		return c.readISO(line)
	case isDigit(line[0]):
		if at, rest, ok = readUnix(line); ok {
			return at, rest, true
		}
		return c.readForeign(line)
	case line[3] == ' ' && isDigit(line[4]) && len(line) > 24 && line[8] == '-':
		return c.readFull(line[4:])
	}
	if at, rest, ok = c.readClassic(line); ok {
		return at, rest, true
	}
	return c.readForeign(line)
}

// readUnix reads "1764031697.123456 ", as journalctl -o short-unix writes it.
func readUnix(line []byte) (at int64, rest []byte, ok bool) {
	const least, most = 9, 11 // digits: the years 1973 to 5138
	digits := 0
	for digits < len(line) && isDigit(line[digits]) {
		digits++
	}
	if digits < least || digits > most || line[digits] != '.' {
		return 0, nil, false
	}
	at = int64(number(line[:digits]))
	rest = line[digits:]
	rest = rest[fraction(rest):]
	if len(rest) == 0 || rest[0] != ' ' {
		return 0, nil, false
	}
	return at, rest[1:], true
}

// readFull reads "2026-11-25 00:48:17 CET ", as journalctl -o short-full writes it behind the day of the
// week. A zone by name other than UTC counts as this host's.
func (c *clock) readFull(line []byte) (at int64, rest []byte, ok bool) {
	date, rest, _ := bytes.Cut(line, []byte(" "))
	clockTime, rest, _ := bytes.Cut(rest, []byte(" "))
	zone, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return 0, nil, false
	}
	offset := c.zone
	switch string(zone) {
	case "UTC", "GMT":
		offset = time.UTC
	default:
		if named, known := c.offset(zone); known {
			offset = named
		}
	}
	moment, err := time.ParseInLocation("2006-01-02 15:04:05", string(date)+" "+string(clockTime), offset)
	return moment.Unix(), rest, err == nil
}

// isMonth tells whether a text begins like a classic stamp.
func isMonth(text []byte) bool {
	for _, name := range months {
		if len(text) > 3 && string(text[:3]) == name && text[3] == ' ' {
			return true
		}
	}
	return false
}

// readClassic reads "Nov 25 00:48:17 ", and the same with a fraction.
func (c *clock) readClassic(line []byte) (at int64, rest []byte, ok bool) {
	if len(line) < 17 || line[9] != ':' || line[12] != ':' ||
		!isNumber(line[10:12]) || !isNumber(line[13:15]) {
		return 0, nil, false
	}
	if !bytes.Equal(c.classic[:], line[:9]) && !c.newHour(line) {
		return 0, nil, false
	}
	rest = line[15:]
	if rest[0] == '.' {
		rest = rest[fraction(rest):]
	}
	if len(rest) == 0 || rest[0] != ' ' {
		return 0, nil, false
	}
	return c.classicAt + int64(number(line[10:12]))*60 + int64(number(line[13:15])), rest[1:], true
}

var months = [...]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}

func (c *clock) newHour(line []byte) bool {
	month := time.Month(0)
	for n, name := range months {
		if string(line[:3]) == name {
			month = time.Month(n + 1)
		}
	}
	day := line[4:6]
	if day[0] == ' ' {
		day = day[1:]
	}
	if month == 0 || line[3] != ' ' || line[6] != ' ' || !isNumber(day) || !isNumber(line[7:9]) {
		return false
	}
	c.setYear(month, number(day))
	copy(c.classic[:], line)
	c.classicAt = time.Date(c.year, month, number(day), number(line[7:9]), 0, 0, 0, c.zone).Unix()
	return true
}

// disorder is by how much a line may be older than those before it.
const disorder = 7 * 24 * time.Hour

// setYear works out the year. The first line has the last year that does not put it into the future. The
// year of a later line is the first that does not put it before the lines read so far, up to some
// disorder, and not into the future.
func (c *clock) setYear(month time.Month, day int) {
	date := func(year int) time.Time { return time.Date(year, month, day, 0, 0, 0, 0, c.zone) }
	isPossible := func(year int) bool { return date(year).Before(c.latest.Add(24 * time.Hour)) }
	if c.year == 0 {
		c.year = c.latest.Year()
		for n := 0; n < 8 && (date(c.year).Day() != day || !isPossible(c.year)); n++ { // for 29 February
			c.year--
		}
		return
	}
	before := time.Unix(c.classicAt, 0).Add(-disorder)
	year := c.year - 1
	for year <= c.year && date(year).Before(before) {
		year++
	}
	if !isPossible(year) {
		year--
	}
	c.year = year
}

// readISO reads "2026-11-25T00:48:17.123456+01:00 ".
func (c *clock) readISO(line []byte) (at int64, rest []byte, ok bool) {
	if line[4] != '-' || line[7] != '-' || line[10] != 'T' && line[10] != ' ' ||
		line[13] != ':' || line[16] != ':' || !isNumber(line[14:16]) || !isNumber(line[17:19]) {
		return 0, nil, false
	}
	zone := line[19:]
	if zone[0] == '.' || zone[0] == ',' {
		zone = zone[fraction(zone):]
	}
	end := bytes.IndexByte(zone, ' ')
	if end < 0 || end > len(c.isoZone) {
		return 0, nil, false
	}
	zone, rest = zone[:end], zone[end+1:]
	var padded [6]byte
	copy(padded[:], zone)
	if !bytes.Equal(c.iso[:], line[:13]) || padded != c.isoZone {
		offset, known := c.offset(zone)
		year, month, day, hour := line[:4], line[5:7], line[8:10], line[11:13]
		if !known || !isNumber(year) || !isNumber(month) || !isNumber(day) || !isNumber(hour) {
			return 0, nil, false
		}
		copy(c.iso[:], line)
		c.isoZone = padded
		c.isoAt = time.Date(number(year), time.Month(number(month)), number(day), number(hour),
			0, 0, 0, offset).Unix()
	}
	return c.isoAt + int64(number(line[14:16]))*60 + int64(number(line[17:19])), rest, true
}

// offset reads "Z", "+01:00", "+0100", "+01", or nothing, which means local time.
func (c *clock) offset(zone []byte) (*time.Location, bool) {
	if len(zone) == 0 {
		return c.zone, true
	}
	if zone[0] == 'Z' {
		return time.UTC, len(zone) == 1
	}
	digits := bytes.ReplaceAll(zone[1:], []byte(":"), nil)
	if zone[0] != '+' && zone[0] != '-' || len(digits) != 2 && len(digits) != 4 || !isNumber(digits) {
		return nil, false
	}
	seconds := number(digits[:2]) * 3600
	if len(digits) == 4 {
		seconds += number(digits[2:]) * 60
	}
	if zone[0] == '-' {
		seconds = -seconds
	}
	return time.FixedZone("", seconds), true
}

// fraction is the length of a fraction of a second with the point before it.
func fraction(b []byte) int {
	n := 1
	for n < len(b) && isDigit(b[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isNumber(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return len(b) > 0
}

// number reads a few digits. The caller has made sure that they are digits.
func number(b []byte) int {
	n := 0
	for _, c := range b {
		n = n*10 + int(c-'0')
	}
	return n
}
