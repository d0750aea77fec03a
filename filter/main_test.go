package filter

import (
	"testing"

	"postmend/tests/peer"
)

func TestMain(m *testing.M) { peer.Main(m) }
