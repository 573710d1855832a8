"""The dashboards: Voila behind CashUp's own login, and the widgets its notebooks are built from."""
