"""What the parsed rows of LEAN tick files hold, by column, and their clock."""

# Columns of a parsed row.
MS = 0
Q_BID, Q_BID_SIZE, Q_ASK, Q_ASK_SIZE, Q_EXCHANGE, Q_SUSPICIOUS = 1, 2, 3, 4, 5, 7
T_PRICE, T_SIZE, T_EXCHANGE, T_CONDITIONS, T_SUSPICIOUS = 1, 2, 3, 4, 5

MS_PER_DAY, MS_PER_HOUR, NS_PER_MS = 86_400_000, 3_600_000, 1_000_000
