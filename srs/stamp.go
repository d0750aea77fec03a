package srs

import (
	"strings"
	"time"
)

// The stamp is the day of the rewriting, counted modulo 1024, as two characters of base32 (RFC 4648 section
// 6), a leading A included.
const (
	stampAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	stampModulus  = 1024
)

// day counts from 1970-01-01 UTC.
func day(now time.Time) int64 { return now.Unix() / 86400 }

// stampDay masks instead of dividing, so that a clock before 1970 gives a valid day, too.
func stampDay(now time.Time) int { return int(day(now)) & (stampModulus - 1) }

func stampOf(now time.Time) string {
	d := stampDay(now)
	return string([]byte{stampAlphabet[d>>5], stampAlphabet[d&31]})
}

// age is the number of days, modulo 1024, since the stamp was made. ok is false if it is not a stamp.
func age(stamp string, now time.Time) (days int, ok bool) {
	if len(stamp) != 2 {
		return 0, false
	}
	high, low := stampDigit(stamp[0]), stampDigit(stamp[1])
	if high < 0 || low < 0 {
		return 0, false
	}
	return (stampDay(now) - (high<<5 | low)) & (stampModulus - 1), true
}

func stampDigit(c byte) int {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return strings.IndexByte(stampAlphabet, c)
}
