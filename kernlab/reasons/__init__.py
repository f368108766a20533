"""Why a RST was sent: matches events and captured segments against configs/reasons."""
