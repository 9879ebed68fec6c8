// Drawings of one line, 20 by 20, in the colour of the text around them.

const PATHS = {
  seat: "M5 3v7h10V3M4 10h12v3H4zM6 13v4M14 13v4",
  day: "M4 5h12v11H4zM4 8.5h12M7 3v3M13 3v3",
  inbox: "M3 11l2-7h10l2 7v5H3zM3 11h4l1 2h4l1-2h4",
  letters: "M4 4h12v9H9l-4 3v-3H4z",
  staff: "M10 9a3 3 0 100-6 3 3 0 000 6M4 17c0-4 2.5-6 6-6s6 2 6 6",
  map: "M3 5l4.5-2 5 2L17 3v12l-4.500 2-5-2L3 17zM7.500 3v12M12.500 5v12",
  list: "M7 5h10M7 10h10M7 15h10M3 5h.5M3 10h.5M3 15h.5",
  check: "M4 10.500l4 4 8-9",
  close: "M5 5l10 10M15 5L5 15",
  cluster: "M10 3v4M5 15l3.500-6M15 15l-3.500-6M6 16h8M10 9a2 2 0 100-4 2 2 0 000 4M4 18a2 2 0 100-4 2 2 0 000 4M16 18a2 2 0 100-4 2 2 0 000 4",
  light: "M10 13a3 3 0 100-6 3 3 0 000 6M10 2v2M10 16v2M2 10h2M16 10h2M4.500 4.500l1.300 1.300M14.200 14.200l1.300 1.300M4.500 15.500l1.300-1.300M14.200 5.800l1.300-1.300",
  accessible: "M10 4.500a1 1 0 100-2 1 1 0 000 2M9.500 6v5h4l2 5M9.500 8h3.500M8 9.500a4 4 0 104.500 5.500",
  account: "M10 10a3.500 3.500 0 100-7 3.500 3.500 0 000 7M3.500 17.500c.8-3.500 3.300-5 6.500-5s5.700 1.500 6.500 5",
} as const;

export function Icon(props: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[props.name]} />
    </svg>
  );
}
